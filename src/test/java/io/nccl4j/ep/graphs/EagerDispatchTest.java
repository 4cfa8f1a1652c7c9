package io.nccl4j.ep.graphs;

import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.cuda.PiecewiseGraph;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.graph.CachedGraph;
import io.nccl4j.ep.graph.GraphCache;
import io.nccl4j.ep.graph.GraphKey;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.util.List;
import org.junit.jupiter.api.Test;

/**
 * A high-throughput group without a budget reads counts on the host, so that its dispatch stays between captured
 * segments.
 */
@EmulatedRanks(value = EagerDispatchTest.RANKS, limitSeconds = 120)
class EagerDispatchTest {
    static final int RANKS = 3;
    private static final int REPLAYS = 50;
    private static final LayerKind KIND = LayerKind.HT_FLAT;

    private final CaseSeeds seeds = CaseSeeds.fresh();

    @Test
    void aPiecewiseStepEqualsTheOracle(EmulatedCluster cluster) {
        EpCase model = seeds.draw(KIND.space(RANKS));
        List<EpCase> batches = seeds.batches(model, REPLAYS, KIND.routings());
        cluster.run(rank -> replay(rank, model, batches));
    }

    private static void replay(EmulatedRank rank, EpCase model, List<EpCase> batches) {
        try (MoeRank self = MoeRank.of(rank, KIND, model, EpGroupConfig::eager);
                EpHandle handle = self.group().createHandle();
                EagerFlatLayer layer = new EagerFlatLayer(self, handle);
                PiecewiseGraph step = PiecewiseGraph.on(self.stream()).captured("attention", layer::attention)
                        .eager("route", layer::route).eager("dispatch", layer::dispatch)
                        .captured("experts", layer::experts).eager("combine", layer::combine).build()) {
            layer.rows(model.shape().maxTokens());
            assertIllegalState(() -> self.stream().capture(() -> {
                layer.route(self.stream());
                layer.calls.dispatch(handle, self.stream());
            }), "dispatch cannot be captured", "maxReceiveRows", "between captured segments");
            rank.bootstrap().barrier();
            for (EpCase batch : batches) {
                if (batch == batches.get(REPLAYS / 2)) {
                    long captures = Emulator.callCount("cudaStreamBeginCapture");
                    rank.bootstrap().barrier();
                    step.recapture("experts");
                    rank.bootstrap().barrier();
                    assertThat(Emulator.callCount("cudaStreamBeginCapture") - captures).isEqualTo(RANKS);
                }
                layer.load(batch);
                step.replay(self.stream());
                layer.verify(batch);
            }
        }
    }

    /** The cache holds such a step as well: captured segments and eager ones, by key, agreed among the ranks. */
    @Test
    void aCacheHoldsAPiecewiseStep(EmulatedCluster cluster) {
        EpCase model = seeds.draw(KIND.space(RANKS));
        List<EpCase> batches = seeds.batches(model, REPLAYS, KIND.routings());
        cluster.run(rank -> serve(rank, model, batches));
    }

    private static void serve(EmulatedRank rank, EpCase model, List<EpCase> batches) {
        GraphKey most = GraphKey.of(model.shape().maxTokens(), KIND.layout());
        try (MoeRank self = MoeRank.of(rank, KIND, model, EpGroupConfig::eager);
                EpHandle handle = self.group().createHandle();
                EagerFlatLayer layer = new EagerFlatLayer(self, handle)) {
            EmulatorUsage before = Emulator.usage(rank.device());
            try (GraphCache cache = GraphCache.piecewise(rank.bootstrap(), self.stream(),
                    (key, segments) -> segments.captured("attention", layer::attention).eager("route", layer::route)
                            .eager("dispatch", layer::dispatch).captured("experts", layer::experts)
                            .eager("combine", layer::combine))) {
                assertThatThrownBy(() -> cache.capture(rank.rank() == 1 ? most.withTokens(1) : most))
                        .isInstanceOf(IllegalStateException.class).hasMessageStartingWith(
                                "the ranks do not agree on which graphs to capture: ranks 0, 2: FLAT T=");
                cache.capture(most);
                assertThat(Emulator.usage(rank.device()).graphExecs() - before.graphExecs()).isEqualTo(2);
                for (EpCase batch : batches) {
                    layer.load(batch);
                    cache.find(most, layer.count).launch(self.stream());
                    layer.verify(batch);
                }
                CachedGraph step = cache.find(most, 0);
                cache.evict(most);
                assertThat(Emulator.usage(rank.device()).graphExecs()).isEqualTo(before.graphExecs());
                assertIllegalState(() -> step.launch(self.stream()), "(evicted)", "is closed");
            }
            assertThat(Emulator.usage(rank.device()).leakedSince(before)).isEmpty();
        }
    }
}
