package io.nccl4j.internal;

import java.util.concurrent.atomic.AtomicLong;

/** How many resources were collected without having been closed, for tests and the emulator's leak report. */
public final class LeakCount {
    private static final AtomicLong LEAKS = new AtomicLong();

    private LeakCount() {
    }

    static void add() {
        LEAKS.incrementAndGet();
    }

    /** Leaks seen since the JVM started. */
    public static long total() {
        return LEAKS.get();
    }
}
