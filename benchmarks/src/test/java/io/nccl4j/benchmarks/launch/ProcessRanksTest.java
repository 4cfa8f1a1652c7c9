package io.nccl4j.benchmarks.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** H16: nothing of a rank outlives it, nor the launcher. */
@Timeout(60)
class ProcessRanksTest {
    private static final String BACKGROUND = "sleep 300 & echo $!; ";

    /** Starts ranks until it is killed; arguments are the number of ranks and the command. */
    static final class Launcher {
        private Launcher() {
        }

        public static void main(String[] arguments) throws Exception {
            List<String> command = List.of(arguments).subList(1, arguments.length);
            new ProcessRanks(Integer.parseInt(arguments[0]), command, (rank, channel, line) -> System.out.println(line))
                    .run(Duration.ZERO);
        }
    }

    private static ProcessRanks.Result run(int ranks, String script, List<String> said, Duration limit)
            throws Exception {
        return new ProcessRanks(ranks, List.of("bash", "-c", script),
                (rank, channel, line) -> said.add(rank + " " + channel + " " + line)).run(limit);
    }

    private static void assertEnds(String pid) throws Exception {
        ProcessHandle.of(Long.parseLong(pid)).ifPresent(process -> {
            // A process whose parent has gone is collected by another one, sooner or later.
            process.onExit().orTimeout(10, TimeUnit.SECONDS).join();
        });
    }

    @Test
    void h16WhatARankHasStartedEndsWithIt() throws Exception {
        List<String> said = Collections.synchronizedList(new ArrayList<>());
        ProcessRanks.Result result = run(2, BACKGROUND + "echo problem >&2; exit $RANK", said, Duration.ZERO);
        assertEquals(new ProcessRanks.Result(1, 1), result);
        assertTrue(said.contains("1 ERROR problem"), said::toString);
        for (String line : said.stream().filter(line -> line.contains("OUTPUT")).toList()) {
            assertEnds(line.substring(line.lastIndexOf(' ') + 1));
        }
    }

    @Test
    void h16TheLimitEndsTheWholeGroup() throws Exception {
        List<String> said = Collections.synchronizedList(new ArrayList<>());
        ProcessRanks.Result result = run(1, BACKGROUND + "trap '' TERM; sleep 301; sleep 302", said,
                Duration.ofSeconds(1));
        assertEquals(new ProcessRanks.Result(124, -1), result);
        assertEnds(said.getFirst().substring("0 OUTPUT ".length()));
    }

    @Test
    void h16AKilledLauncherTakesItsRanksWithIt(@TempDir Path folder) throws Exception {
        Path pids = folder.resolve("pids");
        Process launcher = new ProcessBuilder(Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-cp",
                System.getProperty("java.class.path"), Launcher.class.getName(), "2", "bash", "-c",
                "sleep 303 & echo $! >> " + pids + "; echo $$ >> " + pids + "; sleep 304").redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
        try {
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
            while (!Files.exists(pids) || Files.readAllLines(pids).size() < 4) {
                assertTrue(launcher.isAlive() && System.nanoTime() < deadline, "the ranks start");
                LockSupport.parkNanos(20_000_000);
            }
        } finally {
            launcher.destroyForcibly();
        }
        try (Stream<String> lines = Files.lines(pids)) {
            for (String pid : lines.toList()) {
                assertEnds(pid);
            }
        }
    }
}
