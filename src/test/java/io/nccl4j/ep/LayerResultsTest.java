package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.LowLatencyExpertMajor;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/**
 * Dispatch, experts and combine on random shapes and routings, eagerly and captured, compared with the oracle bit by
 * bit.
 */
@EmulatedRanks(4)
class LayerResultsTest {
    private static EpCase draw(LayerKind kind, long seed, int ranks) {
        EpCase drawn = EpCase.draw(kind.space(ranks).withRoutings(RoutingKind.values()), seed);
        return fits(kind, drawn) ? drawn : draw(kind, seed + 1, ranks);
    }

    private static EpCase redraw(LayerKind kind, EpCase first, int step) {
        RoutingKind[] kinds = RoutingKind.values();
        EpCase drawn = first.redraw(kinds[step % kinds.length], first.seed() + step);
        return fits(kind, drawn) ? drawn : redraw(kind, first, step + 1);
    }

    /** A low-latency zone has room for every token once: tokens that name an expert twice can exceed it. */
    private static boolean fits(LayerKind kind, EpCase drawn) {
        return kind != LayerKind.LL_EXPERT_MAJOR || IntStream.range(0, drawn.shape().ranks())
                .allMatch(rank -> Arrays.stream(LowLatencyExpertMajor.dispatch(drawn.inputs(), rank).counters())
                        .allMatch(count -> count <= drawn.shape().ranks() * drawn.shape().maxTokens()));
    }

    @EachLayerKind
    void eagerStepsGiveWhatTheOracleSays(LayerKind kind, EmulatedCluster cluster) {
        CaseSeeds seeds = CaseSeeds.fresh("LayerResultsTest " + kind);
        List<EpCase> firsts = new ArrayList<>();
        seeds.first(12).forEach(seed -> firsts.add(draw(kind, seed, 4)));
        for (EpCase first : firsts) {
            MoeRank.run(cluster, kind, first, (moe, layer) -> {
                for (int step = 0; step < 3; step++) {
                    moe.checkStep(layer, step == 0 ? first : redraw(kind, first, step));
                }
            });
        }
    }

    @EachLayerKind
    void oneGraphServesEveryRoutingAndBatch(LayerKind kind, EmulatedCluster cluster) {
        CaseSeeds seeds = CaseSeeds.fresh("LayerResultsTest graph " + kind);
        EpCase first = draw(kind, seeds.seed(), 4);
        MoeRank.run(cluster, kind, first, (moe, layer) -> {
            try (CudaGraph graph = moe.stream().capture(() -> layer.enqueue(layer.buffers().maxTokens()));
                    CudaGraphExec exec = graph.instantiate()) {
                assertThat(graph.nodeCount()).isPositive();
                for (int step = 0; step < 50; step++) {
                    moe.checkStep(layer, redraw(kind, first, step), tokens -> exec.launch(moe.stream()));
                }
            }
        });
    }

    /**
     * Random configurations of 1 to 16 ranks: whole and captured steps mixed, rows in any order, memory that is not
     * zero. More of them with {@code -Dnccl4j.test.cases=<number>}.
     */
    @EachLayerKind
    void anyConfigurationGivesWhatTheOracleSays(LayerKind kind) {
        CaseSeeds seeds = CaseSeeds.fresh("LayerResultsTest any " + kind);
        Emulator.options().poison(true).shuffle(seeds.seed() == 0 ? 1 : seeds.seed());
        seeds.first(Integer.getInteger("nccl4j.test.cases", 25)).forEach(seed -> {
            int ranks = 1 + (int) Long.remainderUnsigned(seed, 16);
            EpCase first = draw(kind, seed, ranks);
            MoeRank.run(EmulatedCluster.of(ranks), kind, first, (moe, layer) -> {
                try (CudaGraphExec exec = layer.capture(layer.buffers().maxTokens())) {
                    for (int step = 0; step < 4; step++) {
                        boolean whole = (seed >> 16 + step & 1) == 0;
                        moe.checkStep(layer, step == 0 ? first : redraw(kind, first, step), tokens -> {
                            if (whole) {
                                layer.enqueue(tokens);
                            } else {
                                exec.launch(moe.stream());
                            }
                        });
                    }
                }
            });
        });
    }
}
