package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertFailure;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EpApi;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.CommunicatorRun;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.NcclException;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The generations of the library: how they are told apart, and the structs that are passed. */
@EmulatedRanks
class GenerationTest {
    private static final short UNTOUCHED = 0x5a5a;

    @Test
    void theProbeKnowsApiVersion2() {
        assertThat(EpGeneration.ofLibrary()).isEqualTo(EpGeneration.API_V2);
        assertThat(EpGeneration.libraryVersion()).isEqualTo(100);
    }

    @Test
    void theProbeKnowsRelease020() {
        Emulator.options().api(EpApi.RELEASE_0_2_0);
        assertThat(EpGeneration.ofLibrary()).isEqualTo(EpGeneration.RELEASE_0_2_0);
        assertThat(EpGeneration.libraryVersion()).isEqualTo(200);
    }

    @Test
    void whatIsNewerIsUsedAsTheNewestKnown() {
        assertThat(EpGeneration.ofVersion(100)).isEqualTo(EpGeneration.API_V2);
        assertThat(EpGeneration.ofVersion(103)).isEqualTo(EpGeneration.API_V2);
        assertThat(EpGeneration.ofVersion(201)).isEqualTo(EpGeneration.RELEASE_0_2_0);
        assertThat(EpGeneration.ofVersion(10_000)).isEqualTo(EpGeneration.RELEASE_0_2_0);
    }

    /** By the library, on every rank before it waits for another; where headers are known preflight says so earlier. */
    @Test
    @EmulatedRanks
    void anOlderNcclThanTheLibraryWasBuiltWithIsRefused(EmulatedCluster cluster) {
        Emulator.options().api(EpApi.RELEASE_0_2_0).builtWithNccl(23_102);
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            EpGroupConfig config = RuleBench.highThroughput(Layout.FLAT);
            assertFailure(NcclException.class, () -> EpGroup.create(communicator, config),
                    "built with NCCL 2.31.2 and NCCL 2.30.7 runs, which are incompatible: "
                            + "load NCCL 2.31.2 or newer");
            rank.bootstrap().barrier();
            // Nothing is lost by it.
            Emulator.options().builtWithNccl(23_007);
            rank.bootstrap().barrier();
            EpGroup.create(communicator, config).close();
        });
    }

    /** The longer struct goes to the library only where an option needs it. */
    @Test
    void release020TakesItsOwnOptions(EmulatedCluster cluster) {
        Emulator.options().api(EpApi.RELEASE_0_2_0);
        // Waits ask the stream again and again.
        Emulator.logCalls(1 << 15);
        for (EpGroupConfig config : List.of(RuleBench.highThroughput(Layout.FLAT).maxSms(40),
                RuleBench.highThroughput(Layout.FLAT).dispatchSms(24).combineSms(32))) {
            RuleBench.run(cluster, bench -> {
                bench.calls(config).update().dispatch().combine().await();
            });
        }
        assertThat(argument("ncclEpCreateGroup", "config.size")).containsExactlyInAnyOrder("112", "112", "120", "120");
    }

    /**
     * A captured dispatch of this release overwrites all rows of the budget, unless peers write into a window. Whoever
     * took rows behind the count for zeros, or for what was there before, would go wrong.
     */
    @Test
    void capturedDispatchOverwritesRowsBehindTheCount(EmulatedCluster cluster) {
        Emulator.options().api(EpApi.RELEASE_0_2_0).poison(true);
        RuleBench.run(cluster, RuleBench.highThroughput(Layout.FLAT), (bench, calls) -> {
            int budget = (int) calls.rows;
            EpTensor received = bench.tensor(DataType.BFLOAT16, budget, calls.hidden);
            EpTensor combined = bench.tensor(DataType.BFLOAT16, RuleBench.TOKENS, calls.hidden);
            EpTensor tokens = bench.tensor(DataType.BFLOAT16, RuleBench.TOKENS, calls.hidden);
            fill(tokens, (short) 0x3f80);
            calls.inputs = DispatchInputs.of(tokens, calls.weights);
            calls.outputs = DispatchOutputs.of(received, bench.tensor(DataType.FLOAT32, budget, RuleBench.TOPK),
                    bench.tensor(DataType.INT64, budget, RuleBench.TOPK));
            calls.combineInputs = CombineInputs.of(received);
            calls.combineOutputs = CombineOutputs.of(combined);
            // Half of the tokens go to both ranks, the others nowhere.
            routeTheFirst(calls.routing, RuleBench.TOKENS / 2);
            calls.update().dispatch().combine().await();
            try (CudaGraph graph = bench.stream.capture(() -> calls.update().dispatch().combine());
                    CudaGraphExec step = graph.instantiate()) {
                fill(received, UNTOUCHED);
                bench.rank.bootstrap().barrier();
                step.launch(bench.stream);
                calls.await();
                short[] rows = read(received);
                assertThat(Arrays.copyOf(rows, budget / 2 * calls.hidden)).containsOnly((short) 0x3f80);
                assertThat(Arrays.copyOfRange(rows, budget / 2 * calls.hidden, rows.length)).doesNotContain(UNTOUCHED);
                short[] sums = read(combined);
                assertThat(Arrays.copyOf(sums, sums.length / 2)).containsOnly((short) 0x4000);
                assertThat(Arrays.copyOfRange(sums, sums.length / 2, sums.length)).containsOnly((short) 0);
            }
        });
    }

    private static void fill(EpTensor tensor, short value) {
        try (Arena arena = Arena.ofConfined()) {
            short[] values = new short[(int) (tensor.byteSize() / Short.BYTES)];
            Arrays.fill(values, value);
            tensor.memory().copyFrom(arena.allocateFrom(JAVA_SHORT, values));
        }
    }

    private static short[] read(EpTensor tensor) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment host = arena.allocate(tensor.byteSize(), Long.BYTES);
            tensor.memory().copyTo(host);
            return host.toArray(JAVA_SHORT);
        }
    }

    private static void routeTheFirst(EpTensor routing, int tokens) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment host = arena.allocate(routing.byteSize(), Long.BYTES);
            routing.memory().copyTo(host);
            host.asSlice((long) tokens * RuleBench.TOPK * Long.BYTES).fill((byte) -1);
            routing.memory().copyFrom(host);
        }
    }

    /** Layers of ours on buffers of ours, captured, in this release. */
    @EachLayerKind
    @EmulatedRanks(4)
    void layersDoNotRelyOnRowsBehindTheCount(LayerKind kind, EmulatedCluster cluster) {
        Emulator.options().api(EpApi.RELEASE_0_2_0).poison(true);
        CaseSeeds seeds = CaseSeeds.fresh("GenerationTest " + kind);
        EpCase model = kind.draw(4, seeds.first(1).findFirst().orElseThrow());
        List<EpCase> batches = seeds.first(4).mapToObj(seed -> model.redraw(RoutingKind.UNIFORM, seed)).toList();
        MoeRank.run(cluster, kind, model, (moe, layer) -> {
            layer.runAndVerify(model);
            try (CudaGraphExec step = layer.capture(model.shape().maxTokens())) {
                for (EpCase batch : batches) {
                    layer.load(batch);
                    layer.spoil();
                    moe.await();
                    moe.bootstrap().barrier();
                    step.launch(moe.stream());
                    moe.await();
                    layer.verify(batch, model.shape().maxTokens());
                }
            }
            moe.bootstrap().barrier();
        });
    }

    @Test
    void structsHaveTheSizesOfApiVersion2(EmulatedCluster cluster) {
        Emulator.logCalls(1 << 15);
        RuleBench.run(cluster, RuleBench.highThroughput(Layout.FLAT).overflow(OverflowPolicy.DROP), (bench, calls) -> {
            calls.dispatchConfig = DispatchConfig.defaults();
            calls.combineConfig = CombineConfig.defaults();
            calls.update().dispatch().combine().await();
        });
        assertThat(argument("ncclEpCreateGroup", "config.size")).containsOnly("112");
        assertThat(argument("ncclEpCreateGroup", "config.overflow_policy")).containsOnly("2");
        assertThat(argument("ncclEpDispatch", "config.size")).containsOnly("24");
        assertThat(argument("ncclEpCombine", "config.size")).containsOnly("20");
    }

    private static List<String> argument(String function, String path) {
        return Emulator.calls().stream().filter(call -> call.function().equals(function))
                .map(call -> call.argument(path)).toList();
    }
}
