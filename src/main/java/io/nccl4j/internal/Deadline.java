package io.nccl4j.internal;

import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

/** The end of a wait. Made once and passed along, so that the limits of the waits inside of it do not add up. */
public final class Deadline {
    private static final Duration CLOSE = Duration.ofSeconds(Long.getLong("nccl4j.close.limit.seconds", 30));

    /** No end. */
    public static final Deadline NEVER = new Deadline(Duration.ofNanos(Long.MAX_VALUE / 2));

    private final Duration limit;
    private final long end;

    private Deadline(Duration limit) {
        this.limit = limit;
        this.end = System.nanoTime() + nanos(limit);
    }

    /** A limit in nanoseconds: 0 for a negative one, 292 years for a longer one. */
    public static long nanos(Duration limit) {
        return Math.max(0, TimeUnit.NANOSECONDS.convert(limit));
    }

    /** A limit in milliseconds, for messages. */
    public static long millis(Duration limit) {
        return TimeUnit.MILLISECONDS.convert(limit);
    }

    /** Ends after {@code limit}, counted from now. */
    public static Deadline after(Duration limit) {
        return new Deadline(limit);
    }

    /** How long a {@code close()} that begins now may wait: {@code nccl4j.close.limit.seconds}, 30 by default. */
    public static Deadline ofClose() {
        return after(CLOSE);
    }

    /** Time left, in nanoseconds; 0 when it is over. */
    public long remainingNanos() {
        return Math.max(0, end - System.nanoTime());
    }

    /** Time left; zero when it is over. */
    public Duration remaining() {
        return Duration.ofNanos(remainingNanos());
    }

    /** Whether there is no time left. */
    public boolean isOver() {
        return remainingNanos() == 0;
    }

    /** A way of waiting that ends when something may have happened, or after this time. */
    @FunctionalInterface
    public interface Wait {
        /** Waits. */
        void await(long nanos) throws InterruptedException;
    }

    /**
     * Waits until {@code done} says so, whatever the interrupt flag of the thread says, which is set again afterwards.
     *
     * @return whether it is done; false if this is over before
     */
    public boolean await(BooleanSupplier done, Wait wait) {
        boolean interrupted = false;
        boolean isDone = done.getAsBoolean();
        while (!isDone && !isOver()) {
            try {
                wait.await(remainingNanos());
            } catch (InterruptedException e) {
                interrupted = true;
            }
            isDone = done.getAsBoolean();
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        return isDone;
    }

    /** The time left, for messages. */
    String remainingText() {
        return this == NEVER ? "without a limit" : "at most " + text(remaining()) + " more";
    }

    /** The whole time, for messages. */
    @Override
    public String toString() {
        return text(limit);
    }

    private static String text(Duration time) {
        long millis = millis(time);
        return millis >= 10_000 && millis % 1000 == 0 ? millis / 1000 + " s" : millis + " ms";
    }
}
