package io.nccl4j.internal;

import java.util.concurrent.atomic.AtomicInteger;

/**
 * Counts what seldom happens and may make a call wrong that was right before: something was closed or has failed, a capture began or
 * ended, a recording was started. A call that was checked at the present count need not be checked again, so that the hot path looks at
 * one number instead of at every object that it uses.
 */
public final class StateChanges {
    /** That of a call which was never checked. */
    public static final int NEVER = -1;

    private static final AtomicInteger COUNT = new AtomicInteger();

    private StateChanges() {
    }

    /** How many there were so far; take it before checking. */
    public static int count() {
        return COUNT.get();
    }

    /** To be called after the change. */
    public static void add() {
        COUNT.updateAndGet(count -> (count + 1) & Integer.MAX_VALUE);
    }
}
