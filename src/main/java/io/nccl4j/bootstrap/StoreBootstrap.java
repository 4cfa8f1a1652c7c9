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
import java.util.concurrent.TimeUnit;
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
    private static final long NOTICE_NANOS = TimeUnit.SECONDS.toNanos(1);

    private final Store store;
    private final Duration limit;
    private final int localRank;
    private final AtomicBoolean busy = new AtomicBoolean();
    private long calls;
    private @Nullable RuntimeException failure;

    private StoreBootstrap(Store store, BootstrapOptions.Values options, boolean oneProcess) {
        this.store = store;
        this.limit = options.limit();
        Integer known = options.localRank();
        if (oneProcess) {
            localRank = store.rank;
        } else {
            int counted = countLocalRank(allGather(HostName.ofMachine().getBytes(StandardCharsets.UTF_8)));
            localRank = known == null ? counted : known;
        }
    }

    /** One of several ranks of this process. */
    static Bootstrap inProcess(Store store, BootstrapOptions.Values options) {
        return new StoreBootstrap(store, options, true);
    }

    /** Waits until all ranks are there. */
    static Bootstrap meet(Store store, BootstrapOptions.Values options) {
        return new StoreBootstrap(store, options, false);
    }

    /** Number of this rank among those whose machine has the same name. */
    private int countLocalRank(byte[][] hosts) {
        int local = 0;
        for (int other = 0; other < store.rank; other++) {
            local += Arrays.equals(hosts[other], hosts[store.rank]) ? 1 : 0;
        }
        return local;
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
        if (mine.length > Store.MAX_BYTES) {
            throw new IllegalArgumentException(mine.length + " bytes are too many: a bootstrap carries "
                    + Store.MAX_BYTES + " bytes of each rank at most");
        }
        if (!busy.compareAndSet(false, true)) {
            throw new IllegalStateException("another thread is in a call of " + this);
        }
        try {
            if (failure != null) {
                throw new IllegalStateException(this + " has failed before: " + failure.getMessage(), failure);
            }
            return exchange(mine, System.nanoTime() + Deadline.nanos(limit));
        } finally {
            busy.set(false);
        }
    }

    private byte[][] exchange(byte[] mine, long deadline) {
        long call = calls++;
        try {
            store.put(call, mine);
            byte[][] given = new byte[store.size][];
            long notice = System.nanoTime() + NOTICE_NANOS;
            boolean noticed = notice - deadline >= 0;
            for (int other = 0; other < given.length; other++) {
                byte[] value = store.get(other, call, noticed ? deadline : notice);
                if (value == null && !noticed) {
                    noticed = true;
                    LOG.info("{} waits for {} in call {}, for {} ms at most{}", this, store.missing(call), call,
                            Deadline.millis(limit), store.trouble());
                    value = store.get(other, call, deadline);
                }
                given[other] = value == null ? lastLook(other, call, deadline) : value;
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

    /** It may come while the missing are counted, and nobody would be named. */
    private byte[] lastLook(int other, long call, long deadline) {
        String missing = store.missing(call);
        byte[] value = store.get(other, call, deadline);
        if (value == null) {
            throw new WaitTimeoutException(missing + " did not come within " + Deadline.millis(limit) + " ms (" + this
                    + " waits in call " + call + ")" + store.trouble());
        }
        return value;
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
