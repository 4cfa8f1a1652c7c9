package io.nccl4j.benchmarks.bench;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Runs a program in a JVM of its own. */
final class FreshJvm {
    /** Standard output and error are for the result. */
    static final String QUIET = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";

    /**
     * The first line that a program has printed.
     *
     * @param line the first line of its standard output
     * @param nanos from before the process was started until the line was there
     */
    record FirstLine(String line, long nanos) {
    }

    private FreshJvm() {
    }

    /** The command that starts a JVM like this one. */
    static List<String> java(String... arguments) {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(List.of(arguments));
        return command;
    }

    /** The command that runs a program of this jar. */
    static List<String> java(Class<?> main) {
        return java("--enable-native-access=ALL-UNNAMED", QUIET, "-cp", System.getProperty("java.class.path"),
                main.getName());
    }

    /**
     * Runs a program to its end.
     *
     * @throws IOException if it fails or prints nothing
     */
    static FirstLine run(List<String> command) throws IOException, InterruptedException {
        ProcessBuilder builder = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT);
        long start = System.nanoTime();
        Process process = builder.start();
        try (BufferedReader reader = new BufferedReader(
                new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
            String line = reader.readLine();
            long nanos = System.nanoTime() - start;
            String rest = line;
            while (rest != null) {
                rest = reader.readLine();
            }
            int exitCode = process.waitFor();
            if (exitCode != 0 || line == null) {
                throw new IOException(String.join(" ", command) + " ended with exit code " + exitCode);
            }
            return new FirstLine(line, nanos);
        } finally {
            process.destroyForcibly();
        }
    }
}
