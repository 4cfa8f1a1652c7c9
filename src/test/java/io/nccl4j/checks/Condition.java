package io.nccl4j.checks;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;

/** Something comes to be, sooner or later. */
public final class Condition {
    private static final Duration LIMIT = Duration.ofSeconds(30);
    private static final long PAUSE_NANOS = 100_000;

    private Condition() {
    }

    /** Asks until it is so, for half a minute, whoever interrupts. */
    public static void await(String what, BooleanSupplier condition) {
        long deadline = System.nanoTime() + LIMIT.toNanos();
        while (!condition.getAsBoolean()) {
            assertThat(System.nanoTime() - deadline).as(what).isNegative();
            LockSupport.parkNanos(PAUSE_NANOS);
        }
    }

    /** Waits for the threads of a bounded call that was given up, lest they outlive the test. */
    public static void awaitEndOfCall(String call) throws InterruptedException {
        for (Thread thread : Thread.getAllStackTraces().keySet()) {
            if (thread.getName().contains(" in " + call)) {
                assertThat(thread.join(LIMIT)).as("%s ends", thread).isTrue();
            }
        }
    }
}
