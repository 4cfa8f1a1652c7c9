package io.nccl4j.benchmarks.jmh;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.openjdk.jmh.profile.GCProfiler;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

/** Runs JMH benchmarks of this package on the checking libraries. */
public final class HostMeasurement {
    /**
     * The result of a benchmark.
     *
     * @param nanos nanoseconds per operation, of the fastest iteration
     * @param bytes bytes of garbage per operation
     */
    public record Score(double nanos, double bytes) {
    }

    private static final int WARM_UP = 10;
    private static final TimeValue WARM_UP_TIME = TimeValue.milliseconds(100);
    /** Many and short, since one of them shall run without being interrupted. */
    private static final int ITERATIONS = 40;
    private static final TimeValue ITERATION_TIME = TimeValue.milliseconds(20);

    private final List<String> jvmOptions = new ArrayList<>(Arrays.asList(CheckingLibraries.jvmOptions()));
    private final boolean silent;

    /**
     * @param jvmOptions further options for the measured JVM
     * @param silent nothing on standard output
     */
    public HostMeasurement(List<String> jvmOptions, boolean silent) {
        this.jvmOptions.addAll(jvmOptions);
        this.silent = silent;
    }

    /**
     * Runs benchmarks, each once in a JVM of its own, in the order of their names.
     *
     * @param pattern regular expression for {@code Class.method}
     * @return the scores by {@code Class.method}
     */
    public Map<String, Score> run(String pattern) throws RunnerException {
        OptionsBuilder builder = new OptionsBuilder();
        builder.include("\\.(" + pattern + ")$").addProfiler(GCProfiler.class)
                .jvmArgsAppend(jvmOptions.toArray(String[]::new)).forks(1).shouldFailOnError(true)
                .warmupIterations(WARM_UP).warmupTime(WARM_UP_TIME).measurementIterations(ITERATIONS)
                .measurementTime(ITERATION_TIME).verbosity(silent ? VerboseMode.SILENT : VerboseMode.NORMAL);
        Map<String, Score> scores = new HashMap<>();
        for (RunResult result : new Runner(builder.build()).run()) {
            String name = result.getParams().getBenchmark();
            int method = name.lastIndexOf('.');
            scores.put(name.substring(name.lastIndexOf('.', method - 1) + 1),
                    // The fastest, as in C and Python: a disturbance only makes an iteration slower.
                    new Score(result.getPrimaryResult().getStatistics().getMin(),
                            result.getSecondaryResults().get("gc.alloc.rate.norm").getScore()));
        }
        return scores;
    }
}
