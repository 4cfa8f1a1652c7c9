package io.nccl4j.emulator;

import io.nccl4j.bootstrap.BootstrapOptions;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.nccl.Bootstrap;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** One run of a cluster: its threads, what they gave back or threw, and their end. */
final class ClusterRun<T extends @Nullable Object> {
    private static final long GRACE_NANOS = TimeUnit.SECONDS.toNanos(5);
    /** How long threads have to end once their native waits are ended; then they are interrupted. */
    private static final long UNASKED_NANOS = TimeUnit.SECONDS.toNanos(1);

    private final int size;
    private final int devices;
    private final Duration limit;
    private final RankBody<T> body;
    private final List<Bootstrap> bootstraps;
    private final List<Thread> threads = new ArrayList<>();
    private final List<@Nullable T> results;
    /** In the order in which ranks failed; guarded by this, like {@link #running}. */
    private final Map<Integer, Throwable> failures = new LinkedHashMap<>();
    private int running;

    ClusterRun(int size, int devices, Duration limit, RankBody<T> body) {
        this.size = size;
        this.devices = devices;
        this.limit = limit;
        this.body = body;
        this.bootstraps = Bootstraps.inProcess(size, BootstrapOptions.defaults().limit(limit));
        this.results = Collections.synchronizedList(new ArrayList<>(Collections.nCopies(size, null)));
    }

    List<T> run() {
        start();
        boolean interrupted = false;
        try {
            if (awaitAll(System.nanoTime() + limit.toNanos())) {
                // Their bodies have ended; the threads themselves follow at once.
                joinAll(GRACE_NANOS);
            } else {
                endWaits(failures()
                        ? "another rank has failed"
                        : "the time limit of " + limit.toMillis() + " ms was reached");
            }
        } catch (InterruptedException e) {
            interrupted = true;
            endWaits("the run was interrupted");
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        throwFailures();
        @SuppressWarnings("unchecked") // each rank has put its own
        List<T> all = (List<T>) new ArrayList<>(results);
        return all;
    }

    private void start() {
        for (int rank = 0; rank < size; rank++) {
            int self = rank;
            threads.add(Thread.ofPlatform().daemon().name("rank-" + rank).unstarted(() -> execute(self)));
        }
        synchronized (this) {
            running = size;
        }
        threads.forEach(Thread::start);
    }

    private void execute(int rank) {
        Bootstrap bootstrap = bootstraps.get(rank);
        @Nullable
        String failure = null;
        try {
            CudaDevice device = CudaDevice.of(rank % devices);
            device.makeCurrent();
            results.set(rank, body.run(new EmulatedRank(rank, size, device, bootstrap)));
        } catch (Throwable e) {
            failure = "has failed: " + e;
            fail(rank, e);
        } finally {
            if (failure == null) {
                bootstrap.close();
            } else {
                bootstrap.leave(failure);
            }
            synchronized (this) {
                running--;
                notifyAll();
            }
        }
    }

    /** Keeps what came first; what a rank throws after it was told to end is only an addition. */
    private synchronized void fail(int rank, Throwable e) {
        Throwable before = failures.putIfAbsent(rank, e);
        if (before != null) {
            before.addSuppressed(e);
        }
    }

    /** Waits until all have ended; after the first failure not much longer. False if some have not. */
    private synchronized boolean awaitAll(long deadline) throws InterruptedException {
        long end = deadline;
        boolean hurried = false;
        while (running > 0) {
            if (!failures.isEmpty() && !hurried) {
                hurried = true;
                end = Math.min(end - System.nanoTime(), GRACE_NANOS) + System.nanoTime();
            }
            long rest = end - System.nanoTime();
            if (rest <= 0) {
                return false;
            }
            TimeUnit.NANOSECONDS.timedWait(this, rest);
        }
        return true;
    }

    /** Notes where the ranks are that still run, and ends all waits, so that they end as well. */
    private void endWaits(String reason) {
        for (int rank = 0; rank < size; rank++) {
            Thread thread = threads.get(rank);
            if (thread.isAlive()) {
                Throwable here = new IllegalStateException("rank " + rank + " was here when " + reason);
                here.setStackTrace(thread.getStackTrace());
                synchronized (this) {
                    failures.putIfAbsent(rank, here);
                }
            }
        }
        Emulator.breakWaits("the emulated cluster ends: " + reason);
        try {
            bootstraps.forEach(bootstrap -> bootstrap.leave("was ended, because " + reason));
            if (!joinAll(UNASKED_NANOS)) {
                threads.forEach(Thread::interrupt);
                joinAll(GRACE_NANOS);
            }
        } finally {
            Emulator.allowWaits();
        }
    }

    private synchronized boolean failures() {
        return !failures.isEmpty();
    }

    private boolean joinAll(long nanos) {
        long deadline = System.nanoTime() + nanos;
        boolean interrupted = false;
        for (Thread thread : threads) {
            try {
                long rest = Math.max(1, TimeUnit.NANOSECONDS.toMillis(deadline - System.nanoTime()));
                thread.join(rest);
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        return threads.stream().noneMatch(Thread::isAlive);
    }

    private synchronized void throwFailures() {
        if (failures.isEmpty()) {
            return;
        }
        StringBuilder message = new StringBuilder().append(failures.size()).append(" of ").append(size)
                .append(" ranks failed");
        failures.forEach((rank, e) -> message.append("; rank ").append(rank).append(": ").append(brief(e)));
        List<String> alive = threads.stream().filter(Thread::isAlive).map(Thread::getName).toList();
        if (!alive.isEmpty()) {
            message.append("; threads that did not end: ").append(String.join(", ", alive));
        }
        throw new EmulatedClusterException(message.toString(), failures);
    }

    /** The first line that says something; the rest is in the cause. */
    private static String brief(Throwable e) {
        String text = String.valueOf(e.getMessage()).lines().filter(line -> !line.isBlank()).findFirst().orElse("");
        return e.getClass().getName() + (text.isEmpty() || text.equals("null") ? "" : ": " + text.strip());
    }
}
