package io.nccl4j.benchmarks.bench;

import io.nccl4j.benchmarks.cli.Table;
import io.nccl4j.benchmarks.jmh.Allocation;
import io.nccl4j.benchmarks.jmh.DecodeStepBenchmark;
import io.nccl4j.benchmarks.jmh.HostCost;
import io.nccl4j.benchmarks.jmh.HostMeasurement;
import io.nccl4j.benchmarks.jmh.HostRounds;
import io.nccl4j.benchmarks.jmh.PythonLoop;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** The cost of calls to the host: against bare handles, C, JNI and Python, per call and per decode step. */
final class HostSuite implements Suite {
    private static final int ROUNDS = 5;
    private static final int BARRIER_ROUNDS = 3;
    private static final double PYTHON_SECONDS = 0.5;
    private static final String STEP = "DecodeStepBenchmark.";
    private static final String BARRIER = "-XX:+UseSystemMemoryBarrier";

    /**
     * A way through the layers of a decode step.
     *
     * @param calls native calls per step
     */
    private record StepLine(String pattern, int calls, HostMeasurement.Score score) {
    }

    @Override
    public Result run(boolean quick, boolean silent) throws Exception {
        HostMeasurement plain = new HostMeasurement(List.of(), silent);
        List<HostCost> costs = new HostRounds(plain, quick ? 1 : ROUNDS).measure(HostRounds.CALLS);
        HostCost barrier = new HostRounds(new HostMeasurement(List.of(BARRIER), silent), quick ? 1 : BARRIER_ROUNDS)
                .measure(List.of("dispatch")).getFirst();
        Map<String, HostMeasurement.Score> others = plain.run("JniCallBenchmark\\.\\w+|DecodeStepBenchmark\\.\\w+");
        Map<String, Double> python = PythonLoop.run(PYTHON_SECONDS);
        Map<String, Double> compiled = Allocation.measure(List.of());
        Map<String, Double> interpreted = Allocation.measure(List.of("-Xint"));
        String text = String.join(System.lineSeparator(), HostCost.table(costs), "with " + BARRIER + ":",
                HostCost.table(List.of(barrier)),
                "bytes on the heap per call: " + compiled + ", with -Xint " + interpreted, others(others, python),
                steps(others));
        return new Result(text, ratios(costs, barrier, python, Math.max(most(compiled), most(interpreted))));
    }

    private static double most(Map<String, Double> bytes) {
        return bytes.values().stream().mapToDouble(Double::doubleValue).max().orElseThrow();
    }

    private static Map<String, Double> ratios(List<HostCost> costs, HostCost barrier, Map<String, Double> python,
            double bytes) {
        Map<String, HostCost> byCall = costs.stream().collect(Collectors.toMap(HostCost::call, cost -> cost));
        Map<String, Double> ratios = new LinkedHashMap<>();
        ratios.put("dispatch_vs_bare", byCall.get("dispatch").apiToBare());
        ratios.put("dispatch_alternating_vs_bare", byCall.get("dispatchAlternating").apiToBare());
        ratios.put("update_vs_bare", byCall.get("update").apiToBare());
        ratios.put("combine_vs_bare", byCall.get("combine").apiToBare());
        ratios.put("async_vs_bare", byCall.get("async").apiToBare());
        ratios.put("async_varying_t_vs_bare", byCall.get("asyncVarying").apiToBare());
        ratios.put("layers_fixed_vs_bare", byCall.get("layersFixed").apiToBare());
        ratios.put("layers_varying_vs_bare", byCall.get("layersVarying").apiToBare());
        ratios.put("launch_vs_bare", byCall.get("launch").apiToBare());
        HostCost dispatch = byCall.get("dispatch");
        ratios.put("dispatch_vs_c", dispatch.apiToC());
        ratios.put("dispatch_vs_c_smb", barrier.apiToC());
        if (python.containsKey("fresh")) {
            ratios.put("ctypes_fresh_vs_dispatch", python.get("fresh") / dispatch.api());
        }
        ratios.put("bytes_per_op", bytes);
        return ratios;
    }

    private static String others(Map<String, HostMeasurement.Score> scores, Map<String, Double> python) {
        StringBuilder text = new StringBuilder("dispatch otherwise, ns:");
        text.append(String.format(" JNI %.2f", scores.get("JniCallBenchmark.dispatch").nanos()));
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
        return new Table<StepLine>().text("a decode step of " + layers + " layers", StepLine::pattern)
                .number("native calls", "%d", StepLine::calls).number("ns", "%.0f", line -> line.score().nanos())
                .number("garbage B", "%.1f", line -> line.score().bytes()).of(lines);
    }
}
