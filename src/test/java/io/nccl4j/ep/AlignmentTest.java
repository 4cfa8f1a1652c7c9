package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;

import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.EachLowLatencyKind;
import io.nccl4j.testing.LayerKind;
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
    /** The same tensor, so many bytes further on. */
    private static EpTensor moved(RuleBench bench, EpTensor tensor, int bytes) {
        long[] extents = tensor.facts().extents();
        DeviceMemory memory = bench.own(DeviceMemory.allocate(bench.rank.device(), tensor.byteSize() + 64));
        return EpTensor.of(bench.own(memory.slice(bytes, tensor.byteSize())), tensor.facts().type(),
                Arrays.copyOf(extents, extents.length));
    }

    /** Every rank makes the wrong call, which is refused, and then the right ones. */
    private static void isRefused(LayerKind kind, EmulatedCluster cluster, int multiple,
            BiConsumer<RuleBench, RuleBench.Calls> wrong, BiConsumer<RuleBench, RuleBench.Calls> call) {
        RuleBench.run(cluster, RuleBench.config(kind), (bench, calls) -> {
            RuleBench.Calls right = bench.new Calls(calls.group, calls.handle);
            right.update().dispatch().combine().await();
            wrong.accept(bench, calls);
            assertIllegalArgument(() -> call.accept(bench, calls),
                    "must be a multiple of " + multiple + "; the next one is 0x");
            right.update().dispatch().combine().await();
        });
    }

    @EachLayerKind
    void a1InputRowsOfDispatch(LayerKind kind, EmulatedCluster cluster) {
        isRefused(
                kind, cluster, 16, (bench, calls) -> calls.inputs = DispatchInputs
                        .of(moved(bench, calls.inputs.tokens(), 8), calls.inputs.weights()),
                (bench, calls) -> calls.update().dispatch());
    }

    @EachLayerKind
    void a1OutputRowsOfDispatch(LayerKind kind, EmulatedCluster cluster) {
        isRefused(
                kind, cluster, 16, (bench,
                        calls) -> calls.outputs = DispatchOutputs.of(moved(bench, calls.outputs.tokens(), 8),
                                calls.outputs.weights(), calls.outputs.indices()),
                (bench, calls) -> calls.update().dispatch());
    }

    @EachLayerKind
    void a1RowsOfCombine(LayerKind kind, EmulatedCluster cluster) {
        isRefused(kind, cluster, 16,
                (bench, calls) -> calls.combineInputs = CombineInputs.of(moved(bench, calls.combineInputs.tokens(), 8)),
                (bench, calls) -> calls.update().dispatch().combine());
        isRefused(kind, cluster, 16,
                (bench, calls) -> calls.combineOutputs = CombineOutputs
                        .of(moved(bench, calls.combineOutputs.tokens(), 8), calls.combineOutputs.weights()),
                (bench, calls) -> calls.update().dispatch().combine());
    }

    @EachLayerKind
    void a2Weights(LayerKind kind, EmulatedCluster cluster) {
        boolean inCombine = kind == LayerKind.LL_EXPERT_MAJOR;
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
    @EnumSource(value = LayerKind.class, mode = EnumSource.Mode.EXCLUDE, names = "LL_EXPERT_MAJOR")
    void a2ReceivedWeights(LayerKind kind, EmulatedCluster cluster) {
        isRefused(kind, cluster, 4,
                (bench, calls) -> calls.outputs = DispatchOutputs.of(calls.outputs.tokens(),
                        moved(bench, calls.outputs.weights(), 2), calls.outputs.indices()),
                (bench, calls) -> calls.update().dispatch());
    }

    @EachLayerKind
    void a3Routing(LayerKind kind, EmulatedCluster cluster) {
        isRefused(kind, cluster, 8, (bench, calls) -> calls.routing = moved(bench, calls.routing, 4),
                (bench, calls) -> calls.update());
        isRefused(kind, cluster, 4,
                (bench, calls) -> calls.routing = moved(bench,
                        bench.routing(DataType.INT32, RuleBench.TOKENS, RuleBench.TOPK), 2),
                (bench, calls) -> calls.update());
    }

    @ParameterizedTest
    @EnumSource(value = LayerKind.class, names = {"LL_RANK_MAJOR", "HT_FLAT"})
    void a3ReceivedIndices(LayerKind kind, EmulatedCluster cluster) {
        isRefused(
                kind, cluster, kind.isLowLatency() ? 4 : 8, (bench, calls) -> calls.outputs = DispatchOutputs
                        .of(calls.outputs.tokens(), calls.outputs.weights(), moved(bench, calls.outputs.indices(), 2)),
                (bench, calls) -> calls.update().dispatch());
    }

    @EachLayerKind
    void a4Counters(LayerKind kind, EmulatedCluster cluster) {
        isRefused(kind, cluster, 4, (bench, calls) -> {
            switch (kind) {
                case LL_EXPERT_MAJOR -> calls.info = LayoutInfo.of(moved(bench, calls.info.expertCounters(), 2));
                case LL_RANK_MAJOR -> calls.info = LayoutInfo.empty()
                        .sourceRankCounters(moved(bench, calls.info.sourceRankCounters(), 2));
                default -> calls.updateInfo = LayoutInfo.of(moved(bench, calls.updateInfo.expertCounters(), 2));
            }
        }, (bench, calls) -> calls.update().dispatch());
    }

    @EachLowLatencyKind
    void a5FactorsOfBlockScaledRows(LayerKind kind, EmulatedCluster cluster) {
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
