package io.nccl4j.benchmarks.jmh;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;

/** A program that measures something and prints lines of a name and a number. */
final class MeasuringProgram {
    private MeasuringProgram() {
    }

    /** @throws IOException if it cannot be run or fails */
    static Map<String, Double> run(String... command) throws IOException, InterruptedException {
        Process process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
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
            throw new IOException(command[0] + " ended with exit code " + exitCode);
        }
        return results;
    }
}
