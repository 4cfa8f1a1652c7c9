package io.nccl4j.examples.moe.serve;

import io.nccl4j.examples.moe.rank.Rank;
import io.nccl4j.examples.moe.rank.RankAnswer;
import io.nccl4j.examples.moe.rank.RankCommand;
import io.nccl4j.examples.moe.rank.RankLostException;
import io.nccl4j.examples.moe.step.RankOptions;
import io.nccl4j.examples.moe.step.StepBatch;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Continuous batching over all ranks. Its thread makes step after step as long as there is a sequence: every rank takes
 * part in every step, with rows or without. Sequences of a rank that is lost begin anew on the others.
 */
public final class Engine {
    private static final Logger LOG = LoggerFactory.getLogger(Engine.class);
    private static final Duration STOP_LIMIT = Duration.ofMillis(1500);

    /** A rank that takes part. */
    private record Live(Rank rank, RankSchedule schedule) {
    }

    private final ServeLimits limits;
    private final int size;
    private final Metrics metrics;
    private final Thread thread;
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    /** Guarded by the lock. */
    private final Deque<Sequence> waiting = new ArrayDeque<>();
    /** By number; changed by the engine's thread under the lock. */
    private final SortedMap<Integer, Live> live = new TreeMap<>();
    private final SortedMap<Integer, String> lost = new TreeMap<>();
    private boolean draining;
    private boolean stopped;
    private boolean stepping;

    public Engine(RankOptions options, ServeLimits limits, List<Rank> ranks, Metrics metrics) {
        this.limits = limits;
        this.size = options.ranks();
        this.metrics = metrics;
        for (Rank rank : ranks) {
            live.put(rank.number(),
                    new Live(rank, new RankSchedule(options.maxRows(), options.slots(), limits.chunk())));
        }
        this.thread = Thread.ofPlatform().name("engine").start(this::run);
    }

    /** Takes a sequence on. */
    public void submit(Sequence sequence) throws EngineException {
        lock.lock();
        try {
            if (draining) {
                throw new EngineException(EngineException.Reason.DRAINING, "the server is ending");
            }
            if (live.isEmpty()) {
                throw new EngineException(EngineException.Reason.NO_RANKS, "no rank is left: " + lost);
            }
            if (waiting.size() >= limits.queue()) {
                throw new EngineException(EngineException.Reason.QUEUE_FULL, waiting.size()
                        + " requests wait already, the limit is " + limits.queue() + ": try again later");
            }
            waiting.add(sequence);
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    private void run() {
        try {
            while (awaitWork()) {
                step();
            }
        } catch (RuntimeException e) {
            LOG.error("the engine ends", e);
        } finally {
            abortAll();
        }
    }

    /** Waits for something to do and places what waits; false if the server ends. */
    private boolean awaitWork() {
        lock.lock();
        try {
            stepping = false;
            live.values().forEach(rank -> rank.schedule().dropCancelled());
            waiting.removeIf(sequence -> {
                if (sequence.isCancelled()) {
                    sequence.end(Sequence.End.CANCELLED);
                }
                return sequence.isCancelled();
            });
            changed.signalAll();
            while (!stopped && !live.isEmpty() && waiting.isEmpty() && runningNow() == 0) {
                changed.awaitUninterruptibly();
            }
            if (stopped || live.isEmpty()) {
                return false;
            }
            admit();
            stepping = true;
            return true;
        } finally {
            lock.unlock();
        }
    }

    /** To the rank with the fewest sequences first. */
    private void admit() {
        while (!waiting.isEmpty()) {
            Live rank = live.values().stream().filter(candidate -> candidate.schedule().hasFreeSlot())
                    .min(Comparator.comparingInt(candidate -> candidate.schedule().size())).orElse(null);
            if (rank == null) {
                return;
            }
            rank.schedule().admit(waiting.remove());
        }
    }

    private void step() {
        long begin = System.nanoTime();
        SortedMap<Integer, String> missing = new TreeMap<>();
        int rows = 0;
        for (Live member : live.values()) {
            StepBatch batch = member.schedule().next();
            rows += batch.rows();
            try {
                member.rank().send(new RankCommand.Step(batch));
            } catch (RankLostException e) {
                missing.put(member.rank().number(), e.getMessage());
            }
        }
        int sampled = 0;
        for (Live member : live.values()) {
            if (missing.containsKey(member.rank().number())) {
                continue;
            }
            try {
                RankAnswer answer = member.rank().await(limits.stepLimit());
                sampled += finish(member.schedule(), answer.sampled());
                for (int other : answer.lost()) {
                    missing.putIfAbsent(other,
                            "rank " + member.rank().number() + " waited for rank " + other + " in vain");
                }
            } catch (RankLostException e) {
                missing.put(member.rank().number(), e.getMessage());
            }
        }
        metrics.step((System.nanoTime() - begin) / 1000, rows, sampled);
        while (!missing.isEmpty()) {
            missing = leaveOut(missing);
        }
    }

    private int finish(RankSchedule schedule, int[] sampled) {
        lock.lock();
        try {
            return schedule.finish(sampled);
        } finally {
            lock.unlock();
        }
    }

    /** Goes on without these ranks; returns those that were found missing while the others were told. */
    private SortedMap<Integer, String> leaveOut(SortedMap<Integer, String> missing) {
        SortedMap<Integer, String> more = new TreeMap<>();
        lock.lock();
        try {
            for (Map.Entry<Integer, String> entry : missing.entrySet()) {
                Live gone = live.remove(entry.getKey());
                if (gone != null) {
                    LOG.warn("{}; {} ranks go on", entry.getValue(), live.size());
                    lost.put(entry.getKey(), entry.getValue());
                    metrics.lostRank();
                    gone.rank().kill();
                    gone.schedule().removeAll().reversed().forEach(waiting::addFirst);
                }
            }
            Set<Integer> all = new TreeSet<>(lost.keySet());
            for (Live member : live.values()) {
                try {
                    member.rank().send(new RankCommand.LeaveOut(all));
                } catch (RankLostException e) {
                    more.put(member.rank().number(), e.getMessage());
                }
            }
        } finally {
            lock.unlock();
        }
        return more;
    }

    private void abortAll() {
        lock.lock();
        try {
            draining = true;
            live.values().forEach(
                    member -> member.schedule().removeAll().forEach(sequence -> sequence.end(Sequence.End.ABORTED)));
            waiting.forEach(sequence -> sequence.end(Sequence.End.ABORTED));
            waiting.clear();
            stepping = false;
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    /**
     * Takes nothing on any more, lets what has begun end, aborts what is left at the limit, and ends the ranks.
     *
     * @param limit for what has begun
     */
    public void close(Duration limit) {
        lock.lock();
        try {
            draining = true;
            waiting.forEach(sequence -> sequence.end(Sequence.End.ABORTED));
            waiting.clear();
            long left = limit.toNanos();
            while (left > 0 && (runningNow() > 0 || stepping) && thread.isAlive()) {
                left = changed.awaitNanos(left);
            }
            stopped = true;
            changed.signalAll();
        } catch (InterruptedException e) {
            stopped = true;
            changed.signalAll();
            Thread.currentThread().interrupt();
        } finally {
            lock.unlock();
        }
        endRanks();
    }

    private void endRanks() {
        try {
            thread.join(limits.stepLimit());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        for (Live member : live.values()) {
            try {
                member.rank().send(new RankCommand.Stop());
            } catch (RankLostException e) {
                LOG.warn("at the end: {}", e.getMessage());
            }
        }
        long deadline = System.nanoTime() + STOP_LIMIT.toNanos();
        for (Live member : live.values()) {
            long left = TimeUnit.NANOSECONDS.toMillis(Math.max(0, deadline - System.nanoTime()));
            if (!member.rank().join(Duration.ofMillis(left))) {
                member.rank().kill();
            }
        }
    }

    private int runningNow() {
        return live.values().stream().mapToInt(member -> member.schedule().size()).sum();
    }

    int waiting() {
        lock.lock();
        try {
            return waiting.size();
        } finally {
            lock.unlock();
        }
    }

    int running() {
        lock.lock();
        try {
            return runningNow();
        } finally {
            lock.unlock();
        }
    }

    /** Number of ranks with which it began. */
    public int size() {
        return size;
    }

    /** Number of ranks that take part. */
    public int liveRanks() {
        lock.lock();
        try {
            return live.size();
        } finally {
            lock.unlock();
        }
    }

    /** Ranks that are left out, each with the reason. */
    public SortedMap<Integer, String> lostRanks() {
        lock.lock();
        try {
            return new TreeMap<>(lost);
        } finally {
            lock.unlock();
        }
    }

    /** Whether it takes nothing on any more. */
    public boolean isDraining() {
        lock.lock();
        try {
            return draining;
        } finally {
            lock.unlock();
        }
    }
}
