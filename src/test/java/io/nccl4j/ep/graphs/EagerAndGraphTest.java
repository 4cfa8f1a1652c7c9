package io.nccl4j.ep.graphs;

import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.LayerKind;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A graph gives what eager calls give, and both what the oracle says, for whatever lies in the buffers at replay. */
class EagerAndGraphTest {
    private static final int RANKS = 4;

    private final CaseSeeds seeds = CaseSeeds.fresh();

    @ParameterizedTest
    @EnumSource(LayerKind.class)
    @EmulatedRanks(value = RANKS, limitSeconds = 240)
    void everyReplayEqualsAnEagerRun(LayerKind kind, EmulatedCluster cluster) {
        prove(EpCase.draw(kind.space(RANKS), seeds.first(1).findFirst().orElseThrow()), kind, cluster);
    }

    private void prove(EpCase model, LayerKind kind, EmulatedCluster cluster) {
        System.out.println(kind + ", series " + seeds + ", " + model);
        List<EpCase> batches = ReplayProof.batches(model, kind, seeds);
        cluster.run(rank -> ReplayProof.run(rank, kind, Quantisation.PLAIN, batches));
    }
}
