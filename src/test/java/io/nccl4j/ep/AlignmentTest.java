package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;

import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import java.util.Arrays;
import java.util.function.BiConsumer;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The alignment of addresses: rows start at multiples of 16 bytes, everything else at multiples of its element. On a
 * GPU another address loses the device or ends the process; here each is an exception, and the next right call works.
 */
@EmulatedRanks(2)
class AlignmentTest {
    private enum Kind {
        LL_EXPERT_MAJOR(Layout.EXPERT_MAJOR, true), LL_RANK_MAJOR(Layout.RANK_MAJOR, true), HT_FLAT(Layout.FLAT,
                false), HT_EXPERT_MAJOR(Layout.EXPERT_MAJOR, false);

        private final Layout layout;
        private final boolean lowLatency;

        Kind(Layout layout, boolean lowLatency) {
            this.layout = layout;
            this.lowLatency = lowLatency;
        }

        EpGroupConfig config() {
            return lowLatency ? RuleBench.lowLatency(layout) : RuleBench.highThroughput(layout);
        }
    }

    /** The same tensor, so many bytes further on. */
    private static EpTensor moved(RuleBench bench, EpTensor tensor, int bytes) {
        long[] extents = tensor.facts().extents();
        DeviceMemory memory = bench.own(DeviceMemory.allocate(bench.rank.device(), tensor.byteSize() + 64));
        return EpTensor.of(bench.own(memory.slice(bytes, tensor.byteSize())), tensor.facts().type(),
                Arrays.copyOf(extents, extents.length));
    }

    /** Every rank makes the wrong call, which is refused, and then the right ones. */
    private static void isRefused(Kind kind, EmulatedCluster cluster, int multiple,
            BiConsumer<RuleBench, RuleBench.Calls> wrong, BiConsumer<RuleBench, RuleBench.Calls> call) {
        RuleBench.run(cluster, bench -> {
            RuleBench.Calls calls = bench.calls(kind.config());
            RuleBench.Calls right = bench.new Calls(calls.group, calls.handle);
            right.update().dispatch().combine().await();
            wrong.accept(bench, calls);
            assertIllegalArgument(() -> call.accept(bench, calls),
                    "must be a multiple of " + multiple + "; the next one is 0x");
            right.update().dispatch().combine().await();
            bench.rank.bootstrap().barrier();
        });
    }

    @ParameterizedTest
    @EnumSource(Kind.class)
    void a1InputRowsOfDispatch(Kind kind, EmulatedCluster cluster) {
        isRefused(
                kind, cluster, 16, (bench, calls) -> calls.inputs = DispatchInputs
                        .of(moved(bench, calls.inputs.tokens(), 8), calls.inputs.weights()),
                (bench, calls) -> calls.update().dispatch());
    }

    @ParameterizedTest
    @EnumSource(Kind.class)
    void a1OutputRowsOfDispatch(Kind kind, EmulatedCluster cluster) {
        isRefused(
                kind, cluster, 16, (bench,
                        calls) -> calls.outputs = DispatchOutputs.of(moved(bench, calls.outputs.tokens(), 8),
                                calls.outputs.weights(), calls.outputs.indices()),
                (bench, calls) -> calls.update().dispatch());
    }

    @ParameterizedTest
    @EnumSource(Kind.class)
    void a1RowsOfCombine(Kind kind, EmulatedCluster cluster) {
        isRefused(kind, cluster, 16,
                (bench, calls) -> calls.combineInputs = CombineInputs.of(moved(bench, calls.combineInputs.tokens(), 8)),
                (bench, calls) -> calls.update().dispatch().combine());
        isRefused(kind, cluster, 16,
                (bench, calls) -> calls.combineOutputs = CombineOutputs
                        .of(moved(bench, calls.combineOutputs.tokens(), 8), calls.combineOutputs.weights()),
                (bench, calls) -> calls.update().dispatch().combine());
    }

    @ParameterizedTest
    @EnumSource(Kind.class)
    void a2Weights(Kind kind, EmulatedCluster cluster) {
        boolean inCombine = kind == Kind.LL_EXPERT_MAJOR;
        isRefused(kind, cluster, 4, (bench, calls) -> {
            EpTensor weights = moved(bench, calls.weights, 2);
            if (inCombine) {
                calls.combineOutputs = CombineOutputs.of(calls.combineOutputs.tokens(), weights);
            } else {
                calls.inputs = DispatchInputs.of(calls.inputs.tokens(), weights);
            }
        }, (bench, calls) -> calls.update().dispatch().combine());
    }

    @ParameterizedTest
    @EnumSource(value = Kind.class, mode = EnumSource.Mode.EXCLUDE, names = "LL_EXPERT_MAJOR")
    void a2ReceivedWeights(Kind kind, EmulatedCluster cluster) {
        isRefused(kind, cluster, 4,
                (bench, calls) -> calls.outputs = DispatchOutputs.of(calls.outputs.tokens(),
                        moved(bench, calls.outputs.weights(), 2), calls.outputs.indices()),
                (bench, calls) -> calls.update().dispatch());
    }

    @ParameterizedTest
    @EnumSource(Kind.class)
    void a3Routing(Kind kind, EmulatedCluster cluster) {
        isRefused(kind, cluster, 8, (bench, calls) -> calls.routing = moved(bench, calls.routing, 4),
                (bench, calls) -> calls.update());
        isRefused(kind, cluster, 4,
                (bench, calls) -> calls.routing = moved(bench,
                        bench.routing(DataType.INT32, RuleBench.TOKENS, RuleBench.TOPK), 2),
                (bench, calls) -> calls.update());
    }

    @ParameterizedTest
    @EnumSource(value = Kind.class, names = {"LL_RANK_MAJOR", "HT_FLAT"})
    void a3ReceivedIndices(Kind kind, EmulatedCluster cluster) {
        isRefused(
                kind, cluster, kind.lowLatency ? 4 : 8, (bench, calls) -> calls.outputs = DispatchOutputs
                        .of(calls.outputs.tokens(), calls.outputs.weights(), moved(bench, calls.outputs.indices(), 2)),
                (bench, calls) -> calls.update().dispatch());
    }

    @ParameterizedTest
    @EnumSource(Kind.class)
    void a4Counters(Kind kind, EmulatedCluster cluster) {
        isRefused(kind, cluster, 4, (bench, calls) -> {
            switch (kind) {
                case LL_EXPERT_MAJOR -> calls.info = LayoutInfo.of(moved(bench, calls.info.expertCounters(), 2));
                case LL_RANK_MAJOR -> calls.info = LayoutInfo.builder()
                        .sourceRankCounters(moved(bench, calls.info.sourceRankCounters(), 2)).build();
                default -> calls.updateInfo = LayoutInfo.of(moved(bench, calls.updateInfo.expertCounters(), 2));
            }
        }, (bench, calls) -> calls.update().dispatch());
    }

    @ParameterizedTest
    @EnumSource(value = Kind.class, names = {"LL_EXPERT_MAJOR", "LL_RANK_MAJOR"})
    void a5FactorsOfBlockScaledRows(Kind kind, EmulatedCluster cluster) {
        isRefused(kind, cluster, 4, (bench, calls) -> {
            EpTensor received = calls.outputs.tokens();
            long[] rows = received.facts().extents().clone();
            EpTensor bytes = bench.tensor(DataType.FLOAT8_E4M3, rows);
            rows[2] = RuleBench.LL_HIDDEN / 128;
            EpTensor factors = moved(bench, bench.tensor(DataType.FLOAT32, rows), 2);
            calls.dispatchConfig = DispatchConfig.defaults().recipe(DispatchRecipe.DS_FP8E3M4);
            calls.outputs = DispatchOutputs.of(bytes, calls.outputs.weights(), calls.outputs.indices(), factors);
        }, (bench, calls) -> calls.update().dispatch());
    }
}
