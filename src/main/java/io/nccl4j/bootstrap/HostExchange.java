package io.nccl4j.bootstrap;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.internal.TimeLimit;
import io.nccl4j.nccl.Bootstrap;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * What the bootstraps have in common: calls are numbered, and after one has failed on a rank that rank takes part in no
 * other, since the ranks would be out of step.
 */
abstract sealed class HostExchange implements Bootstrap permits InProcessBootstrap, TcpBootstrap, FileBootstrap {
    /** Most bytes that one rank can give in a call: this is for ids, addresses and agreements, not for data. */
    static final int MOST_BYTES = 1 << 20;

    private final int rank;
    private final int size;
    private final Duration limit;
    private long calls;
    private @Nullable RuntimeException failure;
    private volatile boolean closed;

    HostExchange(int rank, int size, Duration limit) {
        this.rank = rank;
        this.size = size;
        this.limit = limit;
    }

    static void checkRank(int rank, int size) {
        if (size < 1 || rank < 0 || rank >= size) {
            throw new IllegalArgumentException("rank " + rank + " of " + size + ": must be 0 <= rank < size");
        }
    }

    @Override
    public final int rank() {
        return rank;
    }

    @Override
    public final int size() {
        return size;
    }

    @Override
    public final Duration limit() {
        return limit;
    }

    @Override
    public final byte[][] allGather(byte[] mine) {
        if (mine.length > MOST_BYTES) {
            throw new IllegalArgumentException(mine.length + " bytes are too many: a bootstrap carries " + MOST_BYTES
                    + " bytes of each rank at most");
        }
        if (closed) {
            throw new IllegalStateException(this + " is closed");
        }
        if (failure != null) {
            throw new IllegalStateException(this + " has failed before: " + failure.getMessage(), failure);
        }
        calls++;
        try {
            return size == 1
                    ? new byte[][]{mine.clone()}
                    : exchange(calls, mine, System.nanoTime() + TimeLimit.nanos(limit));
        } catch (RuntimeException e) {
            failure = e;
            // The others need not wait for this rank any more.
            giveUp(String.valueOf(e.getMessage()));
            throw e;
        }
    }

    /**
     * One call with at least two ranks. Throws {@link WaitTimeoutException} after the deadline, naming who is
     * missing.
     */
    abstract byte[][] exchange(long call, byte[] mine, long deadline);

    @Override
    public final void close() {
        if (!closed) {
            closed = true;
            leave();
        }
    }

    /** Leaves because a call has failed; the others are told why if there is a way. */
    void giveUp(String reason) {
        leave();
    }

    /** Lets the others know that this rank will not come again. May be called twice. */
    abstract void leave();

    final WaitTimeoutException missing(String who) {
        return new WaitTimeoutException(
                who + " did not come within " + TimeLimit.millis(limit) + " ms (" + this + " waits in its call " + calls
                        + ")");
    }

    @Override
    public String toString() {
        return getClass().getSimpleName() + " of rank " + rank + " of " + size;
    }
}
