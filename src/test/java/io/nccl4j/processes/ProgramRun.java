package io.nccl4j.processes;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * A program that has run to its end.
 *
 * @param exitCode what it ended with
 * @param lines of its standard output and error
 */
public record ProgramRun(int exitCode, List<String> lines) {
    private static final long LIMIT_SECONDS = 120;

    /** Runs a command, without the variables by which libraries are found. */
    public static ProgramRun of(List<String> command, Map<String, String> environment)
            throws IOException, InterruptedException {
        Path output = Files.createTempFile("program", ".txt");
        try {
            ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true)
                    .redirectOutput(output.toFile());
            builder.environment().keySet().removeIf(name -> name.matches("NCCL.*|CUDA_.*|NVCC.*|LD_LIBRARY_PATH"));
            builder.environment().putAll(environment);
            Process process = builder.start();
            boolean ended = process.waitFor(LIMIT_SECONDS, TimeUnit.SECONDS);
            process.destroyForcibly();
            assertThat(ended).as("%s ends", command).isTrue();
            return new ProgramRun(process.exitValue(), Files.readAllLines(output));
        } finally {
            Files.delete(output);
        }
    }

    /** Runs a main class in a JVM with these options. */
    public static ProgramRun java(Class<?> main, String classPath, List<String> options,
            Map<String, String> environment) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(options);
        command.addAll(List.of("-cp", classPath, main.getName()));
        return of(command, environment);
    }

    /** All lines. */
    public String all() {
        return String.join("\n", lines);
    }
}
