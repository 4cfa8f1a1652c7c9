package io.nccl4j.benchmarks.jmh;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/** The same calls from C: runs {@code benchmarks/native/hot_calls.c}. */
final class CLoop {
    private CLoop() {
    }

    /** Nanoseconds per call, by name; takes about {@code seconds} per call. */
    static Map<String, Double> run(double seconds) throws IOException, InterruptedException {
        Path folder = CheckingLibraries.folder();
        Process process = new ProcessBuilder(folder.resolve("hot_calls").toString(), folder.toString(),
                Double.toString(seconds))
                .redirectError(ProcessBuilder.Redirect.INHERIT).start();
        Map<String, Double> results = new LinkedHashMap<>();
        try (BufferedReader reader = new BufferedReader(
                new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
            for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                String[] parts = line.split(" ");
                results.put(parts[0], Double.valueOf(parts[1]));
            }
        }
        int exitCode = process.waitFor();
        if (exitCode != 0) {
            throw new IOException("the C loop ended with exit code " + exitCode);
        }
        return results;
    }
}
