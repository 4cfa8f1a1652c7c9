package io.nccl4j.bootstrap;

import io.nccl4j.nccl.Departure;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Values that the ranks of a job have put under keys, and which ranks have gone. Each rank holds all values in memory:
 * a value that one puts is carried to the others, and so are departures. Keys are numbers that rise.
 *
 * <p>If a rank has gone after it took a value, the others have that value when they hear of the departure. Thread-safe.
 */
abstract sealed class Store permits InProcessStore, TcpRoot, TcpPeer {
    /** Most bytes of a value: this is for ids, addresses and agreements, not for data. */
    static final int MAX_BYTES = 1 << 20;
    /** How long leaving may take: peers that do not read any more are not waited for longer. */
    static final long LEAVE_NANOS = TimeUnit.MILLISECONDS.toNanos(500);
    private static final int MOST_NAMED = 16;
    /** A rank is one call ahead of another at most. */
    private static final int KEYS_AHEAD = 4;

    final int rank;
    final int size;
    /** Guards the fields below and those of subclasses. */
    final Object lock;
    private final TreeMap<Long, byte[][]> values = new TreeMap<>();
    private long firstKey;
    private @Nullable String ended;
    private boolean left;
    private volatile Map<Integer, Departure> gone = Map.of();

    Store(int rank, int size, Object lock) {
        checkRank(rank, size);
        this.rank = rank;
        this.size = size;
        this.lock = lock;
    }

    static void checkRank(int rank, int size) {
        if (size < 1 || rank < 0 || rank >= size) {
            throw new IllegalArgumentException("rank " + rank + " of " + size + ": must be 0 <= rank < size");
        }
    }

    /** Waits for a thread of a store until a deadline, whatever the flag of the calling one says. */
    static void join(Thread thread, long deadline) {
        boolean interrupted = false;
        long rest = deadline - System.nanoTime();
        while (rest > 0 && thread.isAlive()) {
            try {
                TimeUnit.NANOSECONDS.timedJoin(thread, rest);
            } catch (InterruptedException e) {
                interrupted = true;
            }
            rest = deadline - System.nanoTime();
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /**
     * Puts a value of this rank.
     *
     * @throws IllegalArgumentException if it is longer than {@link #MAX_BYTES}
     * @throws IllegalStateException if the key has a value, or this store is closed
     */
    final void put(long key, byte[] value) {
        if (value.length > MAX_BYTES) {
            throw new IllegalArgumentException(value.length + " bytes are too many: a bootstrap carries " + MAX_BYTES
                    + " bytes of each rank at most");
        }
        synchronized (lock) {
            checkOpen();
            byte[] copy = value.clone();
            if (!add(rank, key, copy)) {
                throw new IllegalStateException("rank " + rank + " has put key " + key + " before");
            }
            publish(key, copy);
        }
    }

    /**
     * Waits for a value, whatever the thread's interrupt flag says.
     *
     * @return null after the deadline
     * @throws IllegalStateException if it is not there and a rank has gone or this store is closed
     */
    final byte @Nullable [] get(int from, long key, long deadline) {
        boolean interrupted = false;
        synchronized (lock) {
            try {
                while (true) {
                    byte[] value = value(from, key);
                    if (value != null) {
                        return value.clone();
                    }
                    checkOpen();
                    checkGone(from);
                    long rest = deadline - System.nanoTime();
                    if (rest <= 0) {
                        return null;
                    }
                    try {
                        TimeUnit.NANOSECONDS.timedWait(lock, rest);
                    } catch (InterruptedException e) {
                        interrupted = true;
                    }
                }
            } finally {
                if (interrupted) {
                    Thread.currentThread().interrupt();
                }
            }
        }
    }

    private void checkOpen() {
        if (ended != null) {
            throw new IllegalStateException(ended);
        }
    }

    private void checkGone(int asked) {
        if (!gone.isEmpty()) {
            int named = gone.containsKey(asked) ? asked : gone.keySet().iterator().next();
            throw new IllegalStateException("rank " + named + " " + gone.get(named).how() + trouble());
        }
    }

    private byte @Nullable [] value(int from, long key) {
        byte[][] all = values.get(key);
        return all == null ? null : all[from];
    }

    /** Values of lower keys are not needed any more. */
    final void discardBelow(long key) {
        synchronized (lock) {
            firstKey = key;
            values.headMap(key).clear();
        }
    }

    /** Ranks that are known to have gone, in the order in which that became known. */
    final Map<Integer, Departure> gone() {
        return gone;
    }

    /** Leaves, which the others hear of, and ends the waits of this rank. Idempotent. */
    final void leave(Departure how) {
        synchronized (lock) {
            if (left) {
                return;
            }
            left = true;
            end("the bootstrap of rank " + rank + " is closed: the rank " + how.how());
            publishDeparture(how);
        }
        release();
    }

    /** Names the ranks whose value is missing, as far as this rank can know. */
    String missing(long key) {
        synchronized (lock) {
            return describe(IntStream.range(0, size).filter(other -> value(other, key) == null).boxed().toList());
        }
    }

    /** Ranks as messages name them, such as {@code ranks 1, 4 and 5}. */
    private static String describe(List<Integer> ranks) {
        String most = ranks.stream().limit(Math.min(MOST_NAMED, ranks.size() - 1L)).map(String::valueOf)
                .collect(Collectors.joining(", "));
        return ranks.size() < 2
                ? "rank " + (ranks.isEmpty() ? "?" : ranks.getFirst())
                : "ranks " + most + " and "
                        + (ranks.size() > MOST_NAMED + 1 ? ranks.size() - MOST_NAMED + " more" : ranks.getLast());
    }

    /** More about why ranks are missing, to follow a sentence that names them. */
    String trouble() {
        return "";
    }

    /** Carries a value of this rank to the others. Called with the lock; does not block. */
    abstract void publish(long key, byte[] value);

    /** Lets the others know that this rank leaves. Called with the lock; does not block. */
    abstract void publishDeparture(Departure how);

    /** Frees resources once what was published is on its way; called without the lock. */
    abstract void release();

    /** Takes a value that has come; false if there is one, or the key makes no sense. Called with the lock. */
    final boolean add(int from, long key, byte[] value) {
        if (key < firstKey || key > firstKey + KEYS_AHEAD || value(from, key) != null) {
            return false;
        }
        values.computeIfAbsent(key, unused -> new byte[size][])[from] = value;
        lock.notifyAll();
        return true;
    }

    /** Takes note that a rank has gone. Called with the lock. */
    final void addGone(int other, Departure how) {
        if (!gone.containsKey(other)) {
            Map<Integer, Departure> now = new LinkedHashMap<>(gone);
            now.put(other, how);
            gone = Collections.unmodifiableMap(now);
            lock.notifyAll();
        }
    }

    /** Forgets what a rank has put: it went before all were there, and may come again. Called with the lock. */
    final void forget(int other) {
        values.values().forEach(all -> all[other] = null);
    }

    /** Ends the waits of this rank for this reason, unless they have been ended. Called with the lock. */
    final void end(String reason) {
        if (ended == null) {
            ended = reason;
        }
        lock.notifyAll();
    }

    /** Whether this rank has left. Called with the lock. */
    final boolean hasLeft() {
        return left;
    }

    /** Whether all ranks have put their first value, or did so before it was discarded. Called with the lock. */
    final boolean isComplete() {
        byte[][] all = values.get(0L);
        return firstKey > 0 || all != null && Arrays.stream(all).allMatch(Objects::nonNull);
    }

    /** The values of a rank, by key. Called with the lock. */
    final Map<Long, byte[]> valuesOf(int other) {
        Map<Long, byte[]> its = new TreeMap<>();
        values.forEach((key, all) -> {
            if (all[other] != null) {
                its.put(key, all[other]);
            }
        });
        return its;
    }

    /** Where the ranks meet, such as {@code at localhost:29500}. */
    @Override
    public abstract String toString();
}
