package io.nccl4j.internal;

import java.time.Duration;

/** The end of a wait. Made once and passed along, so that the limits of the waits inside of it do not add up. */
public final class Deadline {
    private static final Duration CLOSE = Duration.ofSeconds(Long.getLong("nccl4j.close.limit.seconds", 30));

    /** No end. */
    public static final Deadline NEVER = new Deadline(Duration.ofNanos(Long.MAX_VALUE / 2));

    private final Duration limit;
    private final long end;

    private Deadline(Duration limit) {
        this.limit = limit;
        this.end = System.nanoTime() + TimeLimit.nanos(limit);
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
        long millis = TimeLimit.millis(time);
        return millis >= 10_000 && millis % 1000 == 0 ? millis / 1000 + " s" : millis + " ms";
    }
}
