package io.nccl4j.benchmarks.jmh;

import com.sun.management.ThreadMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Bytes on the Java heap per call of the public API, exactly: what the thread had allocated before and after many
 * calls, the least of several times. A program, run in a JVM of its own; JMH's profiler counts some of its own.
 */
public final class Allocation {
    private static final int COMPILED_AFTER = 50_000;
    private static final int WARM_UP = 1000;
    private static final int BATCHES = 4;
    private static final int CALLS = 5000;

    private Allocation() {
    }

    /** Bytes per call, by name, in a JVM with further options. */
    public static Map<String, Double> measure(List<String> jvmOptions) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(List.of(CheckingLibraries.jvmOptions()));
        command.addAll(jvmOptions);
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), Allocation.class.getName(),
                Integer.toString(jvmOptions.contains("-Xint") ? WARM_UP : COMPILED_AFTER)));
        return MeasuringProgram.run(command.toArray(String[]::new));
    }

    public static void main(String[] arguments) {
        int warmUp = Integer.parseInt(arguments[0]);
        ApiCallBenchmark api = new ApiCallBenchmark();
        api.create();
        Map<String, Runnable> calls = new LinkedHashMap<>();
        calls.put("update", api::update);
        calls.put("dispatch", api::dispatch);
        calls.put("combine", api::combine);
        calls.put("staged", api::staged);
        calls.put("async", api::async);
        calls.put("launch", api::launch);
        calls.put("dispatchAlternating", api::dispatchAlternating);
        calls.put("asyncVarying", api::asyncVarying);
        calls.put("layersVarying", api::layersVarying);
        calls.forEach((name, call) -> System.out.println(name + " " + bytesPerCall(call, warmUp)));
        api.close();
    }

    private static double bytesPerCall(Runnable call, int warmUp) {
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        for (int i = 0; i < warmUp; i++) {
            call.run();
        }
        // The VM allocates for itself now and then, as when it replaces compiled code; the call does so in every batch.
        long least = Long.MAX_VALUE;
        for (int batch = 0; batch < BATCHES; batch++) {
            long before = threads.getCurrentThreadAllocatedBytes();
            for (int i = 0; i < CALLS; i++) {
                call.run();
            }
            least = Math.min(least, threads.getCurrentThreadAllocatedBytes() - before);
        }
        return (double) least / CALLS;
    }
}
