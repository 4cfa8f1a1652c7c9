package io.nccl4j.safety.kill;

import java.time.Duration;
import java.util.function.Supplier;

/** Makes calls that have a limit and remembers by how much the slowest has exceeded its own. */
final class LimitedCalls {
    private static final long TICK_MILLIS = 20;

    private long worstNanos = Long.MIN_VALUE;
    private String worst = "no call";
    /** For how long this process was not run, all in all: on a busy machine that is nobody's fault. */
    private volatile long lostNanos;

    LimitedCalls() {
        Thread.ofPlatform().daemon().name("lost time").start(this::watch);
    }

    private void watch() {
        try {
            while (true) {
                long start = System.nanoTime();
                Thread.sleep(TICK_MILLIS);
                lostNanos += Math.max(0, System.nanoTime() - start - 2 * TICK_MILLIS * 1_000_000);
            }
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    <T> T make(String what, Duration limit, Supplier<T> call) {
        long lost = lostNanos;
        long start = System.nanoTime();
        try {
            return call.get();
        } finally {
            long over = System.nanoTime() - start - (lostNanos - lost) - limit.toNanos();
            if (over > worstNanos) {
                worstNanos = over;
                worst = what;
            }
        }
    }

    void run(String what, Duration limit, Runnable call) {
        make(what, limit, () -> {
            call.run();
            return null;
        });
    }

    /** For the test to read. */
    String report() {
        return "over the limit by " + (worst.equals("no call") ? Long.MIN_VALUE : worstNanos / 1_000_000) + " ms: "
                + worst;
    }
}
