package io.nccl4j.bootstrap;

import java.util.concurrent.TimeUnit;

/** Pauses between looks at something that tells nobody when it changes: short ones first. */
final class Pause {
    private static final long FIRST_NANOS = TimeUnit.MICROSECONDS.toNanos(500);
    private static final long LONGEST_NANOS = TimeUnit.MILLISECONDS.toNanos(20);

    private final long deadline;
    private long nanos = FIRST_NANOS;

    Pause(long deadline) {
        this.deadline = deadline;
    }

    /** Waits; false after the deadline. */
    boolean next() {
        long rest = deadline - System.nanoTime();
        if (rest <= 0) {
            return false;
        }
        try {
            TimeUnit.NANOSECONDS.sleep(Math.min(nanos, rest));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while waiting for other ranks", e);
        }
        nanos = Math.min(nanos * 2, LONGEST_NANOS);
        return true;
    }
}
