package io.nccl4j.benchmarks.jmh;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;

/** The same calls from Python over ctypes: runs {@code benchmarks/python/ctypes_calls.py}. */
public final class PythonLoop {
    private PythonLoop() {
    }

    /** Nanoseconds per call, by name; empty if there is no Python. */
    public static Map<String, Double> run(double seconds) throws InterruptedException {
        Path script = Path.of(System.getProperty("nccl4j.ep.home", "."), "benchmarks", "python", "ctypes_calls.py");
        try {
            return MeasuringProgram.run("python3", script.toString(), CheckingLibraries.folder().toString(),
                    Double.toString(seconds));
        } catch (IOException e) {
            System.err.println("no measurement from Python: " + e.getMessage());
            return Map.of();
        }
    }
}
