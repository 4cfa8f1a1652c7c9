package io.nccl4j.ep.graphs;

import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import java.util.List;

/** A graph gives what eager calls give, and both what the oracle says, for whatever lies in the buffers at replay. */
class EagerAndGraphTest {
    private static final int RANKS = 4;

    private final CaseSeeds seeds = CaseSeeds.fresh();

    @EachLayerKind
    @EmulatedRanks(value = RANKS, limitSeconds = 240)
    void everyReplayEqualsAnEagerRun(LayerKind kind, EmulatedCluster cluster) {
        List<EpCase> batches = seeds.batches(seeds.draw(kind.space(RANKS)), ReplayProof.REPLAYS, kind.routings());
        cluster.run(rank -> ReplayProof.run(rank, kind, Quantisation.PLAIN, batches));
    }
}
