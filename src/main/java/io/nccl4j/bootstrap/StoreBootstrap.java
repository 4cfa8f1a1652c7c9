package io.nccl4j.bootstrap;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.HostName;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Departure;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A bootstrap over a {@link Store}: a call is a key, under which each rank puts what it gives. After a call has failed
 * on a rank, that rank leaves, since the ranks would be out of step.
 */
final class StoreBootstrap implements Bootstrap {
    private static final Logger LOG = LoggerFactory.getLogger(StoreBootstrap.class);
    private static final Duration NOTICE = Duration.ofSeconds(1);

    private final Store store;
    private final Duration limit;
    private final int localRank;
    private final AtomicBoolean busy = new AtomicBoolean();
    private long calls;
    private @Nullable RuntimeException failure;

    /**
     * Waits until all ranks are there, unless they are threads of one process.
     *
     * @param store of this rank
     */
    StoreBootstrap(Store store, BootstrapOptions.Values options, boolean oneProcess) {
        this.store = store;
        this.limit = options.limit();
        int counted = oneProcess
                ? store.rank
                : countLocalRank(allGather(HostName.ofMachine().getBytes(StandardCharsets.UTF_8)));
        this.localRank = oneProcess || options.localRank() == null ? counted : options.localRank();
    }

    /** Number of this rank among those whose machine has the same name. */
    private int countLocalRank(byte[][] hosts) {
        return (int) Arrays.stream(hosts, 0, store.rank).filter(host -> Arrays.equals(host, hosts[store.rank])).count();
    }

    @Override
    public int rank() {
        return store.rank;
    }

    @Override
    public int size() {
        return store.size;
    }

    @Override
    public int localRank() {
        return localRank;
    }

    @Override
    public Duration limit() {
        return limit;
    }

    @Override
    public byte[][] allGather(byte[] mine) {
        if (!busy.compareAndSet(false, true)) {
            throw new IllegalStateException("another thread is in a call of " + this);
        }
        try {
            if (failure != null) {
                throw new IllegalStateException(this + " has failed before: " + failure.getMessage(), failure);
            }
            return exchange(mine, Deadline.after(limit));
        } finally {
            busy.set(false);
        }
    }

    private byte[][] exchange(byte[] mine, Deadline deadline) {
        // A value that is refused has changed nothing.
        store.put(calls, mine);
        long call = calls++;
        try {
            byte[][] given = new byte[store.size][];
            Deadline notice = limit.compareTo(NOTICE) > 0 ? Deadline.after(NOTICE) : deadline;
            for (int other = 0; other < given.length; other++) {
                byte[] value = store.get(other, call, notice);
                if (value == null && notice != deadline) {
                    notice = deadline;
                    LOG.info("{} waits for {} in call {}, for {} ms at most{}", this, store.missing(other, call), call,
                            Deadline.millis(limit), store.trouble());
                    value = store.get(other, call, deadline);
                }
                if (value == null) {
                    throw new WaitTimeoutException(
                            store.missing(other, call) + " did not come within " + Deadline.millis(limit) + " ms ("
                                    + this + " waits in call " + call + ")" + store.trouble());
                }
                given[other] = value;
            }
            // All have put this value, so all have the ones of the call before.
            store.discardBelow(call);
            return given;
        } catch (RuntimeException e) {
            failure = e;
            store.leave(new Departure(false, "has given up: " + e.getMessage()));
            throw e;
        }
    }

    @Override
    public Map<Integer, Departure> goneRanks() {
        return store.gone();
    }

    @Override
    public void leave(String how) {
        store.leave(new Departure(true, how));
    }

    @Override
    public void close() {
        store.leave(new Departure(false, "has left"));
    }

    @Override
    public String toString() {
        return "rank " + store.rank + " of " + store.size + " " + store;
    }
}
