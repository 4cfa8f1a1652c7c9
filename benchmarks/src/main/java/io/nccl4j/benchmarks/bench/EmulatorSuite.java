package io.nccl4j.benchmarks.bench;

import io.nccl4j.benchmarks.cli.Table;
import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.testing.LayerKind;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.ToDoubleFunction;

/** How fast the emulator moves rows, as a fraction of memcpy. */
final class EmulatorSuite implements Suite {
    private static final int RANKS = 8;
    private static final int EXPERTS = 256;
    private static final int HIDDEN = 7168;
    private static final int TOP_K = 8;
    private static final int DECODE = 128;
    private static final int PREFILL = 4096;

    @Override
    public Result run(boolean quick, boolean silent) {
        Emulator.use();
        int decodeRounds = quick ? 3 : 15;
        int prefillRounds = quick ? 1 : 7;
        List<DataPath.Result> results = List.of(
                new DataPath(shape(LayerKind.LL_EXPERT_MAJOR, DECODE), decodeRounds, 4).measure(),
                new DataPath(shape(LayerKind.LL_RANK_MAJOR, DECODE), decodeRounds, 4).measure(),
                new DataPath(shape(LayerKind.HT_FLAT, DECODE), decodeRounds, 4).measure(),
                new DataPath(shape(LayerKind.HT_FLAT, PREFILL), prefillRounds, 1).measure());
        return new Result(table(results), ratios(results));
    }

    private static LayerShape shape(LayerKind kind, int tokens) {
        return LayerShape.bfloat16(kind, RANKS, EXPERTS, TOP_K, tokens, HIDDEN);
    }

    /** The worst of all shapes. */
    private static Map<String, Double> ratios(List<DataPath.Result> results) {
        Map<String, Double> ratios = new LinkedHashMap<>();
        ratios.put("emulator_dispatch_vs_memcpy", worst(results, DataPath.Result::dispatchVsMemcpy));
        ratios.put("emulator_combine_vs_memcpy", worst(results, DataPath.Result::combineVsMemcpy));
        return ratios;
    }

    private static double worst(List<DataPath.Result> results, ToDoubleFunction<DataPath.Result> ratio) {
        return results.stream().mapToDouble(ratio).min().orElseThrow();
    }

    private static String table(List<DataPath.Result> results) {
        return new Table<DataPath.Result>().text(RANKS + " ranks as threads", EmulatorSuite::name)
                .number("MB per dispatch", "%.1f", result -> result.payload() / 1e6)
                .number("memcpy GB/s", "%.2f", result -> result.memcpy() / 1e9)
                .number("dispatch GB/s", "%.2f", result -> result.dispatch() / 1e9)
                .number("combine GB/s", "%.2f", result -> result.combine() / 1e9)
                .number("dispatch / memcpy", "%.2f", DataPath.Result::dispatchVsMemcpy)
                .number("combine / memcpy", "%.2f", DataPath.Result::combineVsMemcpy).of(results);
    }

    private static String name(DataPath.Result result) {
        LayerShape shape = result.shape();
        return (shape.kind().isLowLatency() ? "LL " : "HT ") + shape.kind().layout() + ", " + shape.sizes().maxTokens()
                + " tokens";
    }

}
