package io.nccl4j.cuda;

import java.time.Duration;

/**
 * How long {@code close()} waits for work in flight before the native object is abandoned: system property
 * {@code nccl4j.close.limit.seconds}, 30 by default.
 */
public final class CloseLimit {
    private static final Duration LIMIT = Duration.ofSeconds(Long.getLong("nccl4j.close.limit.seconds", 30));

    private CloseLimit() {
    }

    /** The limit. */
    public static Duration get() {
        return LIMIT;
    }
}
