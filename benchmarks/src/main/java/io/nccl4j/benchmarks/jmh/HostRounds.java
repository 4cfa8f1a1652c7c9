package io.nccl4j.benchmarks.jmh;

import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.openjdk.jmh.runner.RunnerException;

/**
 * Rounds in which C, the bare handles and the API take turns, call by call, each in a process of its own: a machine
 * that is slower for a while is so for all of them, and the code and data of no two runs of a JVM lie alike.
 */
public final class HostRounds {
    /** The calls that there are benchmarks for. */
    public static final List<String> CALLS = List.of("update", "dispatch", "dispatchAlternating", "combine", "staged",
            "async", "asyncVarying", "layersFixed", "layersVarying", "launch");

    private static final double C_SECONDS = 0.1;

    private final HostMeasurement measurement;
    private final int rounds;

    public HostRounds(HostMeasurement measurement, int rounds) {
        this.measurement = measurement;
        this.rounds = rounds;
    }

    /** C does not know buffers that change: there the same call costs the same. */
    private static double ofC(Map<String, Double> times, String call) {
        return switch (call) {
            case "dispatchAlternating" -> times.get("dispatch");
            case "asyncVarying" -> times.get("async");
            case "layersFixed", "layersVarying" -> DecodeStepBenchmark.LAYERS * times.get("async");
            default -> times.get(call);
        };
    }

    /** Measures these calls. */
    public List<HostCost> measure(List<String> calls) throws RunnerException, IOException, InterruptedException {
        Map<String, List<HostCost.Round>> results = new LinkedHashMap<>();
        calls.forEach(call -> results.put(call, new ArrayList<>()));
        for (int round = 0; round < rounds; round++) {
            Map<String, Double> ofC = CLoop.run(C_SECONDS);
            for (String call : calls) {
                Map<String, HostMeasurement.Score> scores = measurement.run("(Bare|Api)CallBenchmark\\." + call);
                HostMeasurement.Score bare = scores.get("BareCallBenchmark." + call);
                HostMeasurement.Score api = scores.get("ApiCallBenchmark." + call);
                results.get(call).add(new HostCost.Round(ofC(ofC, call), bare.nanos(), api.nanos(), api.bytes()));
            }
        }
        return results.entrySet().stream().map(result -> new HostCost(result.getKey(), result.getValue())).toList();
    }
}
