package io.nccl4j.bootstrap;

import io.nccl4j.bootstrap.Frame.Kind;
import io.nccl4j.internal.Deadline;
import io.nccl4j.nccl.Departure;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import java.util.stream.Stream;
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
    static final Duration LEAVE = Duration.ofMillis(500);
    private static final int MOST_NAMED = 16;
    /** A rank is one call ahead of another at most. */
    private static final int KEYS_AHEAD = 4;

    final int rank;
    final int size;
    /** Guards the fields below and those of subclasses. */
    final Object lock;
    /** Of each rank, by key. */
    private final List<TreeMap<Long, byte[]>> values;
    private final Map<Integer, Departure> gone = new LinkedHashMap<>();
    private long firstKey;
    private @Nullable String ended;
    private boolean left;

    Store(int rank, int size, Object lock) {
        checkRank(rank, size);
        this.rank = rank;
        this.size = size;
        this.lock = lock;
        this.values = Stream.generate(TreeMap<Long, byte[]>::new).limit(size).toList();
    }

    static void checkRank(int rank, int size) {
        if (size < 1 || rank < 0 || rank >= size) {
            throw new IllegalArgumentException("rank " + rank + " of " + size + ": must be 0 <= rank < size");
        }
    }

    /** Waits for the end of a thread of a store, as long as leaving may take. */
    static void join(Thread thread, Deadline deadline) {
        deadline.await(() -> !thread.isAlive(), nanos -> TimeUnit.NANOSECONDS.timedJoin(thread, nanos));
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
            publish(new Frame(Kind.VALUE, rank, key, copy));
        }
    }

    /**
     * Waits for a value, whatever the thread's interrupt flag says.
     *
     * @return null after the deadline
     * @throws IllegalStateException if it is not there and a rank has gone or this store is closed
     */
    final byte @Nullable [] get(int from, long key, Deadline deadline) {
        synchronized (lock) {
            await(() -> value(from, key) != null || ended != null || !gone.isEmpty(), deadline);
            byte[] value = value(from, key);
            if (value == null) {
                checkOpen();
                checkGone(from);
                return null;
            }
            return value.clone();
        }
    }

    /** Waits for something that comes with a notification; false after the deadline. Called with the lock. */
    final boolean await(BooleanSupplier condition, Deadline deadline) {
        return deadline.await(condition, nanos -> TimeUnit.NANOSECONDS.timedWait(lock, nanos));
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
        return values.get(from).get(key);
    }

    /** Values of lower keys are not needed any more. */
    final void discardBelow(long key) {
        synchronized (lock) {
            firstKey = key;
            values.forEach(its -> its.headMap(key).clear());
        }
    }

    /** Ranks that are known to have gone, in the order in which that became known. */
    final Map<Integer, Departure> gone() {
        synchronized (lock) {
            return new LinkedHashMap<>(gone);
        }
    }

    /** Leaves, which the others hear of, and ends the waits of this rank. Idempotent. */
    final void leave(Departure how) {
        synchronized (lock) {
            if (left) {
                return;
            }
            left = true;
            end("the bootstrap of rank " + rank + " is closed: the rank " + how.how());
            publish(Frame.gone(rank, how));
        }
        release();
    }

    /** Names the rank that was waited for, and the others whose value is missing, as far as this rank can know. */
    String missing(int awaited, long key) {
        synchronized (lock) {
            return describe(IntStream.range(0, size).filter(rank -> rank == awaited || value(rank, key) == null)
                    .mapToObj(String::valueOf).toList());
        }
    }

    /** Ranks as messages name them, such as {@code ranks 1, 4 and 5}. */
    private static String describe(List<String> ranks) {
        int last = Math.min(MOST_NAMED, ranks.size() - 1);
        return last == 0
                ? "rank " + ranks.getFirst()
                : "ranks " + String.join(", ", ranks.subList(0, last)) + " and "
                        + (last == ranks.size() - 1 ? ranks.getLast() : ranks.size() - last + " more");
    }

    /** More about why ranks are missing, to follow a sentence that names them. */
    String trouble() {
        return "";
    }

    /** Carries what this rank has put, or that it leaves, to the others. Called with the lock; does not block. */
    abstract void publish(Frame frame);

    /** Frees resources once what was published is on its way; called without the lock. */
    abstract void release();

    /** Takes the news of another rank; false if there are none in it. Called with the lock. */
    final boolean receive(Frame frame) {
        switch (frame.kind()) {
            case VALUE -> {
                return add(frame.rank(), frame.key(), frame.content());
            }
            case GONE -> addGone(frame.rank(), frame.departure());
            case FORGET -> forget(frame.rank());
            default -> {
                return false;
            }
        }
        return true;
    }

    /** Takes a value that has come; false if there is one, or the key makes no sense. Called with the lock. */
    private boolean add(int from, long key, byte[] value) {
        lock.notifyAll();
        return key >= firstKey && key <= firstKey + KEYS_AHEAD && values.get(from).putIfAbsent(key, value) == null;
    }

    /** Takes note that a rank has gone. Called with the lock. */
    final void addGone(int other, Departure how) {
        gone.putIfAbsent(other, how);
        lock.notifyAll();
    }

    /** Forgets what a rank has put: it went before all were there, and may come again. Called with the lock. */
    final void forget(int other) {
        values.get(other).clear();
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
        return firstKey > 0 || values.stream().noneMatch(Map::isEmpty);
    }

    /** The values that a rank has put. Called with the lock. */
    final Stream<Frame> valuesOf(int other) {
        return values.get(other).entrySet().stream()
                .map(value -> new Frame(Kind.VALUE, other, value.getKey(), value.getValue()));
    }

    /** Where the ranks meet, such as {@code at localhost:29500}. */
    @Override
    public abstract String toString();
}
