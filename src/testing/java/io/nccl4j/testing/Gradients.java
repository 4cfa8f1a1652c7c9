package io.nccl4j.testing;

import io.nccl4j.oracle.Mismatch;
import io.nccl4j.oracle.Routing;
import io.nccl4j.oracle.Source;
import io.nccl4j.oracle.WeightGradients;
import java.util.Arrays;

/** The backward pass of high throughput on a rank: experts' rows and gradients of weights, known before they arrive. */
record Gradients(LayerOracle oracle, int rank, WeightGradients gradients) {

    /** Puts all of them where the rows of the batch will be. */
    void put(HostMirror rows, HostMirror weights) {
        Routing routing = oracle.inputs().routing();
        boolean flat = oracle.kind() == LayerKind.HT_FLAT;
        for (Source source : routing.sources()) {
            int column = 0;
            for (int local : routing.localExperts(source, rank)) {
                int expert = rank * routing.shape().localExperts() + local;
                long slot = flat ? oracle.flatSlots().slot(source, rank) : oracle.zoneSlots().slot(source, expert);
                if (slot >= 0) {
                    rows.row(slot, oracle.output(flat ? rank : expert, source));
                    weights.floats(flat ? slot * routing.shape().topK() + column++ : slot,
                            gradients.of(expert, source));
                }
            }
        }
    }

    /** Compares what combine has added up for a number of tokens. */
    void verify(float[] combined, long tokens) {
        int topK = oracle.inputs().routing().shape().topK();
        float[][] expected = oracle.combinedWeights(rank, gradients);
        for (int token = 0; token < tokens; token++) {
            float[] wanted = token < expected.length ? expected[token] : new float[topK];
            float[] found = Arrays.copyOfRange(combined, token * topK, (token + 1) * topK);
            if (!Arrays.equals(wanted, found)) {
                throw new Mismatch("gradients of the weights of token " + token + ": " + Arrays.toString(found)
                        + ", expected " + Arrays.toString(wanted));
            }
        }
    }
}
