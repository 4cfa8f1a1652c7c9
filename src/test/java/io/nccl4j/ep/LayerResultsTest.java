package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.CaseSpace;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.LowLatencyExpertMajor;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.oracle.RowsWritten;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Dispatch, experts and combine on random shapes and routings, eagerly and captured, compared with the oracle bit by
 * bit.
 */
@EmulatedRanks(4)
class LayerResultsTest {
    /** Layouts of both algorithms. */
    enum Kind {
        LL_EXPERT_MAJOR(Algorithm.LOW_LATENCY, Layout.EXPERT_MAJOR), LL_RANK_MAJOR(Algorithm.LOW_LATENCY,
                Layout.RANK_MAJOR), HT_FLAT(Algorithm.HIGH_THROUGHPUT,
                        Layout.FLAT), HT_EXPERT_MAJOR(Algorithm.HIGH_THROUGHPUT, Layout.EXPERT_MAJOR);

        final Algorithm algorithm;
        final Layout layout;

        Kind(Algorithm algorithm, Layout layout) {
            this.algorithm = algorithm;
            this.layout = layout;
        }

        EpCase draw(long seed, int ranks) {
            CaseSpace space = algorithm == Algorithm.LOW_LATENCY
                    ? CaseSpace.lowLatency(ranks)
                    : CaseSpace.highThroughput(ranks);
            EpCase drawn = EpCase.draw(space.withRanks(ranks), seed);
            return fits(drawn) ? drawn : draw(seed + 1, ranks);
        }

        EpCase redraw(EpCase first, int step) {
            RoutingKind[] kinds = RoutingKind.values();
            EpCase drawn = first.redraw(kinds[step % kinds.length], first.seed() + step);
            return fits(drawn) ? drawn : redraw(first, step + 1);
        }

        /** A low-latency zone has room for every token once: tokens that name an expert twice can exceed it. */
        private boolean fits(EpCase drawn) {
            return this != LL_EXPERT_MAJOR || IntStream.range(0, drawn.shape().ranks())
                    .allMatch(rank -> Arrays.stream(LowLatencyExpertMajor.dispatch(drawn.inputs(), rank).counters())
                            .allMatch(count -> count <= drawn.shape().ranks() * drawn.shape().maxTokens()));
        }
    }

    @ParameterizedTest
    @EnumSource(Kind.class)
    void eagerStepsGiveWhatTheOracleSays(Kind kind, EmulatedCluster cluster) {
        CaseSeeds seeds = CaseSeeds.fresh();
        System.out.println("LayerResultsTest " + kind + " seed " + seeds);
        List<EpCase> firsts = new ArrayList<>();
        seeds.first(12).forEach(seed -> firsts.add(kind.draw(seed, 4)));
        for (EpCase first : firsts) {
            cluster.run(rank -> {
                try (LayerOnRank layer = LayerOnRank.of(rank, first, kind.algorithm, kind.layout,
                        UnaryOperator.identity())) {
                    for (int step = 0; step < 3; step++) {
                        EpCase now = step == 0 ? first : kind.redraw(first, step);
                        layer.enqueueStep(layer.load(now));
                        layer.stream.await(LayerOnRank.LIMIT);
                        layer.verify(now, RowsWritten.WINDOW);
                        rank.bootstrap().barrier();
                    }
                }
            });
        }
    }

    @ParameterizedTest
    @EnumSource(Kind.class)
    void oneGraphServesEveryRoutingAndBatch(Kind kind, EmulatedCluster cluster) {
        CaseSeeds seeds = CaseSeeds.fresh();
        System.out.println("LayerResultsTest graph " + kind + " seed " + seeds);
        EpCase first = kind.draw(seeds.seed(), 4);
        cluster.run(rank -> {
            try (LayerOnRank layer = LayerOnRank.of(rank, first, kind.algorithm, kind.layout, UnaryOperator.identity());
                    CudaGraph graph = layer.stream.capture(() -> layer.enqueueStep(layer.buffers.maxTokens()));
                    CudaGraphExec exec = graph.instantiate()) {
                assertThat(graph.nodeCount()).isPositive();
                for (int step = 0; step < 50; step++) {
                    EpCase now = kind.redraw(first, step);
                    layer.load(now);
                    exec.launch(layer.stream);
                    layer.stream.await(LayerOnRank.LIMIT);
                    layer.verify(now, RowsWritten.WINDOW);
                    rank.bootstrap().barrier();
                }
            }
        });
    }

    /**
     * Random configurations of 1 to 16 ranks: whole and captured steps mixed, rows in any order, memory that is not
     * zero. More of them with {@code -Dnccl4j.test.cases=<number>}.
     */
    @ParameterizedTest
    @EnumSource(Kind.class)
    void anyConfigurationGivesWhatTheOracleSays(Kind kind) {
        CaseSeeds seeds = CaseSeeds.fresh();
        System.out.println("LayerResultsTest any " + kind + " seed " + seeds);
        Emulator.options().poison(true).shuffle(seeds.seed() == 0 ? 1 : seeds.seed());
        seeds.first(Integer.getInteger("nccl4j.test.cases", 25)).forEach(seed -> {
            int ranks = 1 + (int) Long.remainderUnsigned(seed, 16);
            EpCase first = kind.draw(seed, ranks);
            EmulatedCluster.run(ranks, rank -> {
                try (LayerOnRank layer = LayerOnRank.of(rank, first, kind.algorithm, kind.layout,
                        UnaryOperator.identity());
                        CudaGraph graph = layer.stream.capture(() -> layer.enqueueStep(layer.buffers.maxTokens()));
                        CudaGraphExec exec = graph.instantiate()) {
                    for (int step = 0; step < 4; step++) {
                        EpCase now = step == 0 ? first : kind.redraw(first, step);
                        int tokens = layer.load(now);
                        if ((seed >> 16 + step & 1) == 0) {
                            layer.enqueueStep(tokens);
                        } else {
                            exec.launch(layer.stream);
                        }
                        layer.stream.await(LayerOnRank.LIMIT);
                        layer.verify(now, RowsWritten.WINDOW);
                        rank.bootstrap().barrier();
                    }
                }
            });
        });
    }
}
