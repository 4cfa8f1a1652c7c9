package io.nccl4j.safety;

import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.GlobalInputs;

/** A batch as the ranks see it that have masked another. */
final class Survivors {
    private Survivors() {
    }

    /** The batch without a rank: it sends nothing, and its experts do nothing. */
    static EpCase without(EpCase batch, int masked) {
        GlobalInputs all = batch.inputs();
        return new EpCase(batch.seed(), batch.kind(), batch.format(), batch.hidden(),
                new GlobalInputs(all.routing().without(masked), all.tokens(), null, all.weights()));
    }
}
