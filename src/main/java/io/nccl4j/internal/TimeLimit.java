package io.nccl4j.internal;

import java.time.Duration;
import java.util.concurrent.TimeUnit;

/** Limits of waits in the units that those count in: one below nothing is nothing, one beyond 292 years is that. */
public final class TimeLimit {
    private TimeLimit() {
    }

    /** In nanoseconds, from 0. */
    public static long nanos(Duration limit) {
        return Math.max(0, TimeUnit.NANOSECONDS.convert(limit));
    }

    /** In milliseconds, for messages. */
    public static long millis(Duration limit) {
        return TimeUnit.MILLISECONDS.convert(limit);
    }
}
