package io.nccl4j.benchmarks.jmh;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;

/** The same calls from C: runs {@code benchmarks/native/hot_calls.c}. */
public final class CLoop {
    private CLoop() {
    }

    /** Nanoseconds per call, by name; takes about {@code seconds} per call. */
    public static Map<String, Double> run(double seconds) throws IOException, InterruptedException {
        Path folder = CheckingLibraries.folder();
        return MeasuringProgram.run(folder.resolve("hot_calls").toString(), folder.toString(),
                Double.toString(seconds));
    }
}
