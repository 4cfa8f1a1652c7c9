package io.nccl4j.ep.graphs;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.checks.StepCost;
import io.nccl4j.cuda.PiecewiseGraph;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.ep.graph.CachedGraph;
import io.nccl4j.ep.graph.EpHandlePool;
import io.nccl4j.ep.graph.GraphCache;
import io.nccl4j.ep.graph.GraphKey;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import org.junit.jupiter.api.Test;

/**
 * The cost of a step on a pool, a piecewise graph or a cached graph: native calls as promised, no waits, nothing
 * allocated.
 */
@EmulatedRanks(value = 1, limitSeconds = 120)
class GraphsHotPathTest {
    private final CaseSeeds seeds = CaseSeeds.fresh();

    private EpCase draw(LayerKind kind) {
        return seeds.draw(kind.space(1));
    }

    @EachLayerKind
    void aStepOnAPoolMakesThreeCalls(LayerKind kind, EmulatedCluster cluster) {
        stepOnAPool(kind, draw(kind), cluster);
    }

    private static void stepOnAPool(LayerKind kind, EpCase model, EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (MoeRank self = MoeRank.of(rank, kind, model);
                    EpHandlePool pool = EpHandlePool.builder(self.group()).slots(3).build(model.hidden(),
                            LayerKind.type(model.format()))) {
                for (int lane = 0; lane < pool.size(); lane++) {
                    try (EpHandlePool.Slot slot = pool.acquire(lane)) {
                        slot.handle().warmUp(slot.buffers(), model.shape().maxTokens(), self.stream());
                    }
                }
                StepCost.verify(self.stream(), 0, () -> {
                    try (EpHandlePool.Slot slot = pool.acquire(1)) {
                        slot.buffers();
                    }
                });
                StepCost.verify(self.stream(), 3, () -> {
                    try (EpHandlePool.Slot slot = pool.acquire()) {
                        slot.handle().dispatchAsync(slot.buffers(), 1, self.stream());
                        slot.handle().combineAsync(slot.buffers(), self.stream());
                    }
                });
            }
        });
    }

    @EachLayerKind
    void aPiecewiseStepMakesOneCallPerCapturedSegmentAndThoseOfTheOthers(LayerKind kind, EmulatedCluster cluster) {
        EpCase model = draw(kind);
        cluster.run(rank -> {
            try (MoeRank self = MoeRank.of(rank, kind, model); MoeLayer layer = self.layer()) {
                layer.handle().warmUp(layer.buffers(), 1, self.stream());
                try (PiecewiseGraph step = PiecewiseGraph.on(self.stream())
                        .captured("attention", on -> layer.buffers().tokens().memory().fillAsync((byte) 1, on))
                        .eager("dispatch", on -> layer.handle().dispatchAsync(layer.buffers(), 1, on))
                        .captured("experts", on -> layer.buffers().expertOutputs().memory().fillAsync((byte) 2, on))
                        .eager("combine", on -> layer.handle().combineAsync(layer.buffers(), on)).build()) {
                    StepCost.verify(self.stream(), 2 + 2 + 1, () -> step.replay(self.stream()));
                }
            }
        });
    }

    @Test
    void aCachedStepMakesOneCall(EmulatedCluster cluster) {
        LayerKind kind = LayerKind.LL_EXPERT_MAJOR;
        EpCase model = draw(kind);
        cluster.run(rank -> {
            try (MoeRank self = MoeRank.of(rank, kind, model);
                    MoeLayer layer = self.layer();
                    GraphCache cache = GraphCache.create(rank.bootstrap(), self.stream(), (key, stream) -> {
                        layer.dispatch(key.tokens());
                        layer.combine();
                    })) {
                layer.handle().warmUp(layer.buffers(), 1, self.stream());
                GraphKey like = GraphKey.of(0, kind.layout());
                cache.capture(like, like.withTokens(1), like.withTokens(model.shape().maxTokens()));
                StepCost.verify(self.stream(), 1, () -> {
                    CachedGraph graph = cache.find(like, 1);
                    graph.launch(self.stream());
                });
                assertThat(cache.statistics().hits()).isEqualTo(StepCost.STEPS * StepCost.ROUNDS + 1L);
            }
        });
    }
}
