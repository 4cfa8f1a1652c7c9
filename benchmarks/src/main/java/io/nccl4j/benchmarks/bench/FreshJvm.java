package io.nccl4j.benchmarks.bench;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Runs a program of this jar in a JVM of its own. */
final class FreshJvm {
    /**
     * What a program has printed first.
     *
     * @param line the first line of its standard output
     * @param nanos from before the process was started until the line was there
     */
    record FirstLine(String line, long nanos) {
    }

    private FreshJvm() {
    }

    /** The command that runs {@code main}. */
    static List<String> command(List<String> options, Class<?> main, String... arguments) {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.add("--enable-native-access=ALL-UNNAMED");
        command.addAll(options);
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), main.getName()));
        command.addAll(List.of(arguments));
        return command;
    }

    /**
     * Runs a program to its end.
     *
     * @throws IOException if it fails or prints nothing
     */
    static FirstLine run(List<String> options, Class<?> main, String... arguments)
            throws IOException, InterruptedException {
        ProcessBuilder builder = new ProcessBuilder(command(options, main, arguments))
                .redirectError(ProcessBuilder.Redirect.INHERIT);
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
                throw new IOException(main.getSimpleName() + " ended with exit code " + exitCode);
            }
            return new FirstLine(line, nanos);
        } finally {
            process.destroyForcibly();
        }
    }
}
