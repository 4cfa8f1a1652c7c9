package io.nccl4j.benchmarks.bench;

import com.github.freva.asciitable.AsciiTable;
import com.github.freva.asciitable.Column;
import com.github.freva.asciitable.HorizontalAlign;
import io.nccl4j.benchmarks.jmh.CLoop;
import io.nccl4j.benchmarks.jmh.DecodeStepBenchmark;
import io.nccl4j.benchmarks.jmh.HostCost;
import io.nccl4j.benchmarks.jmh.HostMeasurement;
import io.nccl4j.benchmarks.jmh.PythonLoop;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** What calls cost the host: against bare handles, C, JNI and Python, per call and per decode step. */
final class HostSuite implements Suite {
    private static final String STEP = "DecodeStepBenchmark.";

    /**
     * A way through the layers of a decode step.
     *
     * @param calls native calls per step
     */
    private record StepLine(String pattern, int calls, HostMeasurement.Score score) {
    }

    @Override
    public Result run(boolean quick, boolean silent) throws Exception {
        double seconds = quick ? 0.5 : 3;
        Map<String, Double> before = CLoop.run(seconds);
        Map<String, HostMeasurement.Score> scores = new HostMeasurement(List.of(), quick, silent)
                .run("(Bare|Api|Jni)CallBenchmark\\.\\w+|DecodeStepBenchmark\\.\\w+");
        HostMeasurement.Score barrier = new HostMeasurement(List.of("-XX:+UseSystemMemoryBarrier"), quick, silent)
                .run("ApiCallBenchmark\\.dispatch").get("ApiCallBenchmark.dispatch");
        Map<String, Double> after = CLoop.run(seconds);
        Map<String, Double> python = PythonLoop.run(seconds);
        List<HostCost> costs = HostCost.of(before, after, scores);
        String text = HostCost.table(costs) + System.lineSeparator() + others(scores, barrier, python)
                + System.lineSeparator() + steps(scores);
        return new Result(text, ratios(costs, barrier, python));
    }

    private static Map<String, Double> ratios(List<HostCost> costs, HostMeasurement.Score barrier,
            Map<String, Double> python) {
        Map<String, HostCost> byCall = costs.stream().collect(Collectors.toMap(HostCost::call, cost -> cost));
        Map<String, Double> ratios = new LinkedHashMap<>();
        for (String call : List.of("dispatch", "update", "combine", "async", "launch")) {
            ratios.put(call + "_vs_bare", byCall.get(call).apiToBare());
        }
        HostCost dispatch = byCall.get("dispatch");
        ratios.put("dispatch_vs_c", dispatch.apiToC());
        ratios.put("dispatch_vs_c_smb", barrier.nanos() / dispatch.c());
        if (python.containsKey("fresh")) {
            ratios.put("ctypes_fresh_vs_dispatch", python.get("fresh") / dispatch.api());
        }
        ratios.put("bytes_per_op", costs.stream().mapToDouble(HostCost::apiBytes).max().orElseThrow());
        return ratios;
    }

    private static String others(Map<String, HostMeasurement.Score> scores, HostMeasurement.Score barrier,
            Map<String, Double> python) {
        StringBuilder text = new StringBuilder("dispatch otherwise, ns:");
        text.append(String.format(" API with -XX:+UseSystemMemoryBarrier %.2f", barrier.nanos()));
        text.append(String.format(", JNI %.2f", scores.get("JniCallBenchmark.dispatch").nanos()));
        python.forEach((name, nanos) -> text.append(String.format(", ctypes with %s structs %.0f", name, nanos)));
        return text.toString();
    }

    private static String steps(Map<String, HostMeasurement.Score> scores) {
        int layers = DecodeStepBenchmark.LAYERS;
        List<StepLine> lines = List.of(
                new StepLine("create, update, dispatch, combine, destroy", 5 * layers,
                        scores.get(STEP + "handlePerLayer")),
                new StepLine("update, dispatch, combine", 3 * layers, scores.get(STEP + "reusedHandle")),
                new StepLine("one graph launch", 1, scores.get(STEP + "graphLaunch")));
        return AsciiTable.getTable(lines, List.of(
                new Column().header("a decode step of " + layers + " layers").dataAlign(HorizontalAlign.LEFT)
                        .with(StepLine::pattern),
                new Column().header("native calls").with(line -> Integer.toString(line.calls())),
                new Column().header("ns").with(line -> String.format("%.0f", line.score().nanos())),
                new Column().header("garbage B").with(line -> String.format("%.1f", line.score().bytes()))));
    }
}
