package io.nccl4j.benchmarks.launch;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.stream.Stream;

/**
 * One process per rank, told who it is by torchrun's environment variables. The first that fails takes the others with
 * it, and so does the end of this JVM, however it ends. What a rank has started ends with it.
 */
public final class ProcessRanks {
    private static final Duration GRACE = Duration.ofSeconds(5);
    /**
     * Runs a rank in a process group of its own, which ends as a whole: with the rank, when it is told to, and when the
     * launcher is gone, which its end of the pipe tells even if it was killed.
     */
    private static final String GUARD = """
            set -m
            exec 3<&0 4>&2 2> /dev/null
            "$@" 3<&- 2>&4 4>&- < /dev/null &
            rank=$!
            end() { kill -TERM -- -"$rank"; sleep 3; kill -KILL -- -"$rank"; }
            { read -r -u 3; end; } > /dev/null 4>&- &
            guard=$!
            set +m
            trap 'end > /dev/null 4>&- &' TERM INT HUP
            while :; do
              wait "$rank"
              code=$?
              kill -0 "$rank" || break
            done
            kill -KILL -- -"$guard" -"$rank"
            exit "$code"
            """;

    /** Where a line of output came from. */
    public enum Channel {
        OUTPUT, ERROR
    }

    /** Takes a rank's output line by line; called by one thread at a time. */
    @FunctionalInterface
    public interface Lines {
        void line(int rank, Channel channel, String line);
    }

    /**
     * How it ended.
     *
     * @param exitCode 0, or the exit code of the rank that failed first
     * @param rank that rank, or -1
     */
    public record Result(int exitCode, int rank) {
    }

    private final List<String> command;
    private final int count;
    private final Lines lines;
    private int doomed = -1;
    private final List<Process> processes = new ArrayList<>();
    private final List<Thread> readers = new ArrayList<>();

    public ProcessRanks(int count, List<String> command, Lines lines) {
        this.count = count;
        this.command = Stream.concat(Stream.of("bash", "-c", GUARD, "ep-launch"), command.stream()).toList();
        this.lines = lines;
    }

    /** The end of this rank does not end the others, whatever its exit code. */
    public ProcessRanks expectingTheDeathOf(int rank) {
        doomed = rank;
        return this;
    }

    /**
     * Runs all ranks to their end.
     *
     * @param limit ends all that run longer, with the exit code that {@code timeout} uses, 124; zero for none
     */
    public Result run(Duration limit) throws IOException, InterruptedException {
        int port = freePort();
        BlockingQueue<Integer> ended = new ArrayBlockingQueue<>(count);
        Thread hook = new Thread(this::endAll, "end of all ranks");
        Runtime.getRuntime().addShutdownHook(hook);
        try {
            for (int rank = 0; rank < count; rank++) {
                start(rank, port, ended);
            }
            return await(ended, limit);
        } finally {
            endAll();
            for (Thread reader : readers) {
                reader.join(GRACE);
            }
            removeHook(hook);
        }
    }

    private static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }

    private void start(int rank, int port, BlockingQueue<Integer> ended) throws IOException {
        ProcessBuilder builder = new ProcessBuilder(command);
        Map<String, String> environment = builder.environment();
        environment.put("RANK", Integer.toString(rank));
        environment.put("LOCAL_RANK", Integer.toString(rank));
        environment.put("WORLD_SIZE", Integer.toString(count));
        environment.put("LOCAL_WORLD_SIZE", Integer.toString(count));
        environment.put("MASTER_ADDR", InetAddress.getLoopbackAddress().getHostAddress());
        environment.put("MASTER_PORT", Integer.toString(port));
        Process process = builder.start();
        synchronized (processes) {
            processes.add(process);
        }
        read(rank, process.getInputStream(), Channel.OUTPUT);
        read(rank, process.getErrorStream(), Channel.ERROR);
        process.onExit().thenRun(() -> ended.add(rank));
    }

    private void read(int rank, InputStream stream, Channel channel) {
        readers.add(Thread.ofPlatform().daemon().name("output of rank " + rank).start(() -> {
            try (BufferedReader reader = new BufferedReader(new InputStreamReader(stream, StandardCharsets.UTF_8))) {
                for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                    synchronized (lines) {
                        lines.line(rank, channel, line);
                    }
                }
            } catch (IOException e) {
                // The stream was closed with its process.
            }
        }));
    }

    private Result await(BlockingQueue<Integer> ended, Duration limit) throws InterruptedException {
        long deadline = System.nanoTime() + (limit.isZero() ? Long.MAX_VALUE / 2 : limit.toNanos());
        for (int left = count; left > 0; left--) {
            Integer rank = ended.poll(deadline - System.nanoTime(), TimeUnit.NANOSECONDS);
            if (rank == null) {
                return new Result(124, -1);
            }
            int exitCode = processes.get(rank).exitValue();
            if (exitCode != 0 && rank != doomed) {
                return new Result(exitCode, rank);
            }
        }
        return new Result(0, -1);
    }

    /** Asks all to end, waits a little, then ends them by force; their descendants too. */
    private void endAll() {
        List<Process> started;
        synchronized (processes) {
            started = List.copyOf(processes);
        }
        signal(started, ProcessHandle::destroy);
        long deadline = System.nanoTime() + GRACE.toNanos();
        try {
            for (Process process : started) {
                process.waitFor(deadline - System.nanoTime(), TimeUnit.NANOSECONDS);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        signal(started, ProcessHandle::destroyForcibly);
    }

    private static void signal(List<Process> started, Consumer<ProcessHandle> signal) {
        for (Process process : started) {
            if (process.isAlive()) {
                process.descendants().forEach(signal);
                signal.accept(process.toHandle());
            }
        }
    }

    private static void removeHook(Thread hook) {
        try {
            Runtime.getRuntime().removeShutdownHook(hook);
        } catch (IllegalStateException e) {
            // This JVM is ending, and the hook is what ended the ranks.
        }
    }
}
