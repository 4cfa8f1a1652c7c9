package io.nccl4j.processes;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.NativeLibraries;
import java.io.BufferedReader;
import java.io.Closeable;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.assertj.core.api.Assertions;
import org.slf4j.Logger;

/** A JVM that runs a main class of the tests; ended with the test at the latest. */
public final class ChildJvm implements Closeable {
    /** Against hangs alone: on a busy machine a minute is not enough for eight JVMs to start. */
    private static final long LIMIT_SECONDS = 600;
    private static final String END = "(end of output)";

    private final Process process;
    private final BlockingQueue<String> lines = new LinkedBlockingQueue<>();
    private final List<String> seen = new ArrayList<>();

    private ChildJvm(Process process) {
        this.process = process;
        Thread.ofPlatform().daemon().start(this::read);
    }

    /** Starts {@code java} with the classes of the library and the tests. */
    public static ChildJvm start(Class<?> main, Map<String, String> environment, String... arguments)
            throws IOException {
        List<String> command = new ArrayList<>(
                List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "--enable-native-access=ALL-UNNAMED", "-XX:TieredStopAtLevel=1",
                        "-Dnccl4j.emulator.library=" + System.getProperty("nccl4j.emulator.library"), "-cp",
                        classPath(), main.getName()));
        command.addAll(List.of(arguments));
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        builder.environment().keySet().removeIf(name -> name.startsWith("NCCL4J_"));
        builder.environment().putAll(environment);
        return new ChildJvm(builder.start());
    }

    private static String classPath() {
        return Stream
                .of(locationOf(NativeLibraries.class), Path.of("target", "test-classes").toAbsolutePath(),
                        locationOf(Logger.class), locationOf(Assertions.class))
                .map(Path::toString).collect(Collectors.joining(File.pathSeparator));
    }

    private static Path locationOf(Class<?> type) {
        return Path.of(URI.create(type.getProtectionDomain().getCodeSource().getLocation().toString()));
    }

    private void read() {
        try (BufferedReader reader = new BufferedReader(
                new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
            reader.lines().forEach(lines::add);
        } catch (IOException | java.io.UncheckedIOException e) {
            lines.add("output broke off: " + e);
        } finally {
            lines.add(END);
        }
    }

    /** Waits for a line that begins so. */
    public String await(String prefix) throws InterruptedException {
        while (true) {
            String line = lines.poll(LIMIT_SECONDS, TimeUnit.SECONDS);
            assertThat(line).as("a line with '%s' after %s", prefix, seen).isNotNull().isNotEqualTo(END);
            seen.add(line);
            if (line.startsWith(prefix)) {
                return line;
            }
        }
    }

    /** Of its process. */
    public long pid() {
        return process.pid();
    }

    /** Whether it ends within a time; {@link #awaitEnd} tells what it said. */
    public boolean endsWithin(Duration time) throws InterruptedException {
        return process.waitFor(time.toNanos(), TimeUnit.NANOSECONDS);
    }

    /** Waits for the end; everything it has said. */
    public String awaitEnd() throws InterruptedException {
        for (String line = lines.poll(LIMIT_SECONDS, TimeUnit.SECONDS); !END.equals(line); line = lines
                .poll(LIMIT_SECONDS, TimeUnit.SECONDS)) {
            assertThat(line).as("the process ends; so far %s", seen).isNotNull();
            seen.add(line);
        }
        assertThat(process.waitFor(LIMIT_SECONDS, TimeUnit.SECONDS)).isTrue();
        return String.join("\n", seen);
    }

    /** The code that it ended with. */
    public int exitCode() {
        return process.exitValue();
    }

    /** As by {@code kill}, or by whoever runs the server. */
    public void terminate() {
        // The process itself would close its output, too.
        process.toHandle().destroy();
    }

    /** As by {@code kill -9}. */
    public void kill() {
        process.destroyForcibly();
    }

    @Override
    public void close() {
        process.destroyForcibly();
    }
}
