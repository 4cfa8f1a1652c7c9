package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EpApi;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.CaseSpace;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.RoutingKind;
import java.util.List;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Both generations of the library: how they are told apart, what is passed to each, what only one can do. */
@EmulatedRanks
class GenerationTest {
    @ParameterizedTest
    @EnumSource(EpApi.class)
    void theProbeTellsThemApart(EpApi api) {
        Emulator.options().api(api);
        assertThat(EpGeneration.ofLibrary()).isEqualTo(api == EpApi.V2 ? EpGeneration.API_V2 : EpGeneration.V0_1_0);
        assertThat(EpGeneration.libraryVersion()).isEqualTo(100);
    }

    @ParameterizedTest
    @EnumSource(LayerResultsTest.Kind.class)
    void theOldReleaseGivesTheSameResults(LayerResultsTest.Kind kind, EmulatedCluster cluster) {
        Emulator.options().api(EpApi.RELEASE_0_1_0);
        CaseSeeds seeds = CaseSeeds.fresh();
        System.out.println("GenerationTest " + kind + " seed " + seeds);
        boolean lowLatency = kind.algorithm == Algorithm.LOW_LATENCY;
        CaseSpace space = (lowLatency ? CaseSpace.lowLatency(2).withHidden(2048) : CaseSpace.highThroughput(2))
                .withRanks(2)
                .withPowersOfTwo().withFormat(NumberFormat.BFLOAT16)
                .withRoutings(RoutingKind.UNIFORM, RoutingKind.HOLES);
        EpCase first = seeds.first(100).mapToObj(seed -> EpCase.draw(space, seed))
                .filter(c -> c.shape().maxTokens() * c.shape().localExperts() % 4 == 0).findFirst().orElseThrow();
        cluster.run(rank -> {
            try (LayerOnRank layer = LayerOnRank.of(rank, first, kind.algorithm, kind.layout,
                    UnaryOperator.identity())) {
                assertThat(layer.group.generation()).isEqualTo(EpGeneration.V0_1_0);
                layer.enqueueStep(layer.load(first));
                layer.stream.await(LayerOnRank.LIMIT);
                layer.verifyCombined(first);
                try (CudaGraph graph = layer.stream.capture(() -> layer.enqueueStep(layer.buffers.maxTokens()));
                        CudaGraphExec exec = graph.instantiate()) {
                    for (int step = 1; step < 5; step++) {
                        EpCase now = first.redraw(RoutingKind.UNIFORM, first.seed() + step);
                        layer.load(now);
                        exec.launch(layer.stream);
                        layer.stream.await(LayerOnRank.LIMIT);
                        layer.verifyCombined(now);
                        rank.bootstrap().barrier();
                    }
                }
            }
        });
    }

    @Test
    void structsHaveTheirFirstSizeUnlessANewFieldIsSet(EmulatedCluster cluster) {
        Emulator.logCalls(1000);
        cluster.run(rank -> {
            try (RuleBench bench = new RuleBench(rank)) {
                RuleBench.Calls calls = bench.calls(RuleBench.highThroughput(Layout.FLAT));
                calls.dispatchConfig = DispatchConfig.defaults();
                calls.combineConfig = CombineConfig.defaults();
                calls.update().dispatch().combine().await();
                rank.bootstrap().barrier();
            }
        });
        assertThat(argument("ncclEpCreateGroup", "config.size")).containsOnly("96");
        assertThat(argument("ncclEpDispatch", "config.size")).containsOnly("20");
        assertThat(argument("ncclEpCombine", "config.size")).containsOnly("16");
        Emulator.logCalls(1000);
        cluster.run(rank -> {
            try (RuleBench bench = new RuleBench(rank)) {
                bench.group(RuleBench.highThroughput(Layout.FLAT).overflow(OverflowPolicy.DROP));
            }
        });
        assertThat(argument("ncclEpCreateGroup", "config.size")).containsOnly("112");
        assertThat(argument("ncclEpCreateGroup", "config.overflow_policy")).containsOnly("2");
    }

    private static List<String> argument(String function, String path) {
        return Emulator.calls().stream().filter(call -> call.function().equals(function))
                .map(call -> call.argument(path)).toList();
    }

    @Test
    void sizesOfTheOtherStructs(EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (RuleBench bench = new RuleBench(rank)) {
                EpTensor tensor = bench.tensor(DataType.INT32, 4);
                assertThat(size(LayoutInfo.of(tensor))).isEqualTo(40);
                assertThat(size(LayoutInfo.builder().expertCounters(tensor).expertIds(ExpertIds.GLOBAL).build()))
                        .isEqualTo(48);
                assertThat(size(LayoutInfo.builder().expertIds(ExpertIds.LOCAL).build())).isEqualTo(48);
                assertThat(size(DispatchInputs.of(tensor, tensor, tensor))).isEqualTo(32);
                assertThat(size(DispatchOutputs.of(tensor, tensor, tensor, tensor))).isEqualTo(40);
                assertThat(size(CombineInputs.of(tensor, tensor))).isEqualTo(24);
                assertThat(size(CombineInputs.of(tensor, null, tensor))).isEqualTo(32);
                assertThat(size(CombineOutputs.of(tensor, tensor))).isEqualTo(24);
            }
        });
    }

    private static int size(NativeStruct struct) {
        return struct.struct().get(java.lang.foreign.ValueLayout.JAVA_INT, 0);
    }

    @Test
    void newFeaturesAreRefusedOnTheOldRelease(EmulatedCluster cluster) {
        Emulator.options().api(EpApi.RELEASE_0_1_0);
        cluster.run(rank -> {
            try (RuleBench bench = new RuleBench(rank)) {
                assertThatThrownBy(
                        () -> bench.group(RuleBench.highThroughput(Layout.FLAT).overflow(OverflowPolicy.DROP)))
                        .isInstanceOf(UnsupportedOperationException.class).hasMessageContaining("needs API v2");
                assertThatThrownBy(() -> bench.group(RuleBench.highThroughput(Layout.FLAT).zeroCopy(ZeroCopy.ON)))
                        .isInstanceOf(UnsupportedOperationException.class);
                // What these ask for is how the old release works anyway.
                RuleBench.Calls calls = bench.calls(
                        RuleBench.highThroughput(Layout.FLAT).overflow(OverflowPolicy.TRAP).zeroCopy(ZeroCopy.OFF));
                calls.info = LayoutInfo.builder().expertIds(ExpertIds.GLOBAL).build();
                assertThatThrownBy(() -> calls.update().dispatch()).isInstanceOf(UnsupportedOperationException.class)
                        .hasMessageContaining("ExpertIds");
                bench.stream.await(LayerOnRank.LIMIT);
                rank.bootstrap().barrier();
            }
        });
    }
}
