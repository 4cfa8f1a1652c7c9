package io.nccl4j.safety.kill;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.processes.ChildJvm;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Signals to one of several ranks: whatever it hits, the others end with exceptions, within their limits, and nothing
 * of the library ends a process or keeps it. All trials meet in the same folder and at the same port, so each shows as
 * well that those before have left nothing that harms. Outside of the gate: {@code mvn test -Dtest=KillCampaignTest
 * -Dkill.trials=60}; {@code -Dkill.seed} repeats a campaign, {@code -Dkill.only} one trial of it.
 */
class KillCampaignTest {
    private static final int TRIALS = 60;
    /** Against hangs alone: all calls of a rank together are limited to less. */
    private static final Duration HANGING = Duration.ofMinutes(4);

    @TempDir
    private Path folder;

    @Test
    void survivorsEndWithExceptionsWithinTheirLimits() throws Exception {
        String seed = System.getProperty("kill.seed", Long.toHexString(new SplittableRandom().nextLong()));
        Integer only = Integer.getInteger("kill.only");
        int trials = Integer.getInteger("kill.trials", TRIALS);
        System.out.println("kill campaign of " + trials + " trials, seed " + seed);
        int port = freePort();
        Signal.INT.letChildrenReceive();
        List<String> faults = new ArrayList<>();
        Map<String, Integer> ends = new TreeMap<>();
        long worst = Long.MIN_VALUE;
        long start = System.nanoTime();
        for (int number = only == null ? 0 : only; number < (only == null ? trials : only + 1); number++) {
            Trial trial = Trial.draw(number, Long.parseUnsignedLong(seed, 16));
            Outcome outcome = run(trial, port, seed);
            outcome.countEnds(ends);
            worst = Math.max(worst, outcome.worstMillis());
            System.out.println(trial + ": " + outcome);
            for (String fault : outcome.faults()) {
                faults.add(trial + ": " + fault);
                System.out.println("FAULT " + fault + "\n" + outcome.said());
            }
        }
        System.out.println("ends " + ends);
        System.out.println("the slowest call took " + worst + " ms more than its limit, all trials "
                + Duration.ofNanos(System.nanoTime() - start).toSeconds() + " s, faults " + faults.size());
        assertThat(faults).isEmpty();
    }

    private static int freePort() throws Exception {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }

    private Outcome run(Trial trial, int port, String seed) throws Exception {
        List<ChildJvm> ranks = new ArrayList<>();
        try {
            for (int rank = 0; rank < trial.ranks(); rank++) {
                ranks.add(ChildJvm.start(SignalledRankProcess.class,
                        Map.of("JDK_JAVA_OPTIONS",
                                "-Dnccl4j.close.limit.seconds=" + SignalledRankProcess.LIMIT.toSeconds(),
                                // Misuse would end the process, as on a GPU.
                                "NCCL4J_EMU_MISUSE", "abort"),
                        folder.toString(), String.valueOf(port), String.valueOf(rank), String.valueOf(trial.number()),
                        seed));
            }
            Outcome outcome = new Outcome(trial);
            ChildJvm victim = ranks.get(trial.victim());
            if (trial.pause() != null) {
                victim.await("signal at");
                Thread.sleep(trial.pause());
                Signal.CONT.send(victim.pid());
            }
            for (int rank = 0; rank < trial.ranks(); rank++) {
                if (rank != trial.victim()) {
                    end(outcome, rank, ranks.get(rank));
                }
            }
            if (trial.signal() == Signal.STOP && trial.pause() == null) {
                // The others have gone; it hears of it late. If it was slower than they were, it stops only now.
                long end = System.nanoTime() + HANGING.toNanos();
                while (!victim.endsWithin(Duration.ofMillis(100)) && System.nanoTime() < end) {
                    Signal.CONT.send(victim.pid());
                }
            }
            end(outcome, trial.victim(), victim);
            return outcome;
        } finally {
            ranks.forEach(ChildJvm::close);
        }
    }

    private static void end(Outcome outcome, int rank, ChildJvm process) throws InterruptedException {
        boolean ended = process.endsWithin(HANGING);
        if (!ended) {
            Signal.QUIT.send(process.pid());
            // For the threads to be printed.
            process.endsWithin(Duration.ofSeconds(10));
            process.kill();
        }
        outcome.add(rank, process.awaitEnd(), process.exitCode(), ended);
    }
}
