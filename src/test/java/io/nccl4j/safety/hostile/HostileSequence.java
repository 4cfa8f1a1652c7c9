package io.nccl4j.safety.hostile;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedClusterException;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorMisuse;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.OverflowPolicy;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.LayerKind;
import java.lang.foreign.Arena;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;

/** One hostile sequence: a cluster of ranks, its shape and its faults, all of it drawn from a seed. */
final class HostileSequence {
    /** Calls that a rank cannot make without the others. */
    static final Set<String> COLLECTIVE = Set.of("EpGroup.create", "EpGroup.createHandle", "EpGroup.maskClean",
            "Communicator.register", "Window.register", "Communicator.split", "EpHandle.allocateBuffers",
            "EpHandlePool.build", "Builder.build", "EpHandle.update", "EpHandle.dispatch", "EpHandle.dispatchAsync",
            "EpHandle.combine", "EpHandle.combineAsync", "EpHandle.warmUp", "EpHandle.complete", "CudaGraphExec.launch",
            "CachedGraph.launch", "PiecewiseGraph.replay", "GraphCache.capture", "CudaStream.synchronize",
            "CudaDevice.synchronize", "CudaEvent.synchronize", "Communicator.init");
    /** The outcome of what depends on time, which may differ between ranks. */
    static final String TIMED = "timed";
    private static final Duration LIMIT = Duration.ofSeconds(45);
    /** A rank whose messages are lost is masked after that. */
    private static final Duration LATE = Duration.ofSeconds(10);
    /** Longer than a sequence may take, so that on a busy machine no rank is masked for being slow. */
    private static final Duration NEVER = LIMIT.multipliedBy(2);
    private static final int KEPT_CALLS = 20_000;
    /** Poisoned when it is taken, so it takes memory of the machine. */
    private static final long DEVICE_BYTES = 256L << 20;

    final long seed;
    final HostileOptions options;
    final HostileStatistics statistics;
    final ApiSurface surface;
    final LayerKind shape;
    final EpCase model;
    final EpGroupConfig config;
    /** Whether the fault is a loss of messages, after which ranks are masked. */
    private final boolean losing;
    final int faultAt;
    private final SplittableRandom faults;
    private final AtomicBoolean broken = new AtomicBoolean();
    private volatile @Nullable String fault;
    private volatile boolean leaking;
    private volatile long misusesBefore;

    HostileSequence(long seed, HostileOptions options, HostileStatistics statistics, ApiSurface surface) {
        this.seed = seed;
        this.options = options;
        this.statistics = statistics;
        this.surface = surface;
        SplittableRandom random = new SplittableRandom(seed ^ 0x5eed);
        LayerKind[] shapes = LayerKind.values();
        this.shape = shapes[random.nextInt(shapes.length)];
        this.model = shape.draw(1 + random.nextInt(3), random.nextLong());
        EpGroupConfig drawn = shape.config(model);
        boolean faulty = options.faults() && random.nextInt(5) < 2;
        boolean mask = shape.isLowLatency() && random.nextBoolean();
        this.losing = mask && faulty && random.nextInt(5) == 0;
        if (shape.isLowLatency()) {
            if (mask) {
                drawn = drawn.mask().timeout(losing ? LATE : NEVER);
            }
            if (random.nextInt(3) == 0) {
                drawn = drawn.growingRdmaBuffer();
            }
        } else if (random.nextInt(4) == 0) {
            drawn = drawn.overflow(OverflowPolicy.DROP);
        }
        if (random.nextInt(4) == 0) {
            drawn = drawn.checked();
        }
        this.config = drawn;
        this.faultAt = faulty ? random.nextInt(options.actions()) : -1;
        this.faults = random.split();
    }

    /** Runs it and looks at what is left. */
    void run() {
        Emulator.reset();
        Emulator.options().misuse(options.misuse()).poison(true).shuffle(seed | 1).deviceMemory(DEVICE_BYTES);
        if (options.verbose()) {
            Emulator.logCalls(KEPT_CALLS);
        }
        misusesBefore = lastMisuse();
        EmulatorUsage before = Emulator.usage();
        try {
            EmulatedCluster.of(model.shape().ranks()).limit(LIMIT).allowLeaks().run(rank -> {
                try (Arena arena = Arena.ofShared()) {
                    new HostileRank(this, rank, arena).run();
                }
            });
        } catch (EmulatedClusterException e) {
            if (options.verbose()) {
                Emulator.calls().forEach(System.out::println);
            }
            throw first(e);
        }
        statistics.sequence(broken.get());
        checkMisuse(new ArrayDeque<>());
        if (broken.get()) {
            recover();
        } else {
            checkLeaks(before);
        }
    }

    /** The failure of the first rank that has one; those of the others, which may be its causes, are shown with it. */
    private HostileFailure first(EmulatedClusterException e) {
        HostileFailure first = e.failures().values().stream().filter(HostileFailure.class::isInstance)
                .map(HostileFailure.class::cast).findFirst()
                .orElseGet(() -> new HostileFailure(this + ": " + e.getMessage(), e));
        e.failures().values().stream().filter(other -> other != first).forEach(first::addSuppressed);
        return first;
    }

    private static long lastMisuse() {
        List<EmulatorMisuse> all = Emulator.misuses();
        return all.isEmpty() ? 0 : all.getLast().sequence();
    }

    /** Whether something came to the library that would have ended the process. */
    void checkMisuse(Deque<String> trail) {
        List<EmulatorMisuse> made = Emulator.misuses(misusesBefore + 1).stream()
                .filter(misuse -> fault == null || !HostileFaults.explains(misuse, broken.get())).toList();
        if (!made.isEmpty()) {
            throw failure(trail, "misuse reached the library: " + made, null);
        }
    }

    private void checkLeaks(EmulatorUsage before) {
        synchronizeDevices();
        List<String> leaks = Emulator.usage().leakedSince(before);
        if (!leaks.isEmpty() && fault == null && !leaking) {
            throw new HostileFailure(this + ": left alive: " + leaks, null);
        }
        if (!leaks.isEmpty()) {
            // A native call that should have given something back was made to fail.
            recover();
        }
    }

    private void synchronizeDevices() {
        for (int device = 0; device < 2 * model.shape().ranks(); device++) {
            CudaDevice.of(device).synchronize();
        }
    }

    /** The devices are as new for the next sequence. */
    private void recover() {
        awaitBackgroundCalls();
        Emulator.clearFaults();
        Emulator.clearPresets();
        for (int device = 0; device < 2 * model.shape().ranks(); device++) {
            CudaDevice.of(device).reset();
        }
        Emulator.allowWaits();
    }

    /** Calls that were given up go on until the waits are broken. */
    private static void awaitBackgroundCalls() {
        for (Thread thread : Thread.getAllStackTraces().keySet()) {
            if (thread.getName().startsWith("nccl4j nccl")) {
                try {
                    if (!thread.join(Duration.ofSeconds(20))) {
                        throw new HostileFailure(thread.getName() + " does not end", null);
                    }
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
            }
        }
    }

    /** Something goes wrong on one rank. */
    void injectFault() {
        String injected = HostileFaults.inject(faults, model.shape().ranks(), losing);
        fault = injected;
        statistics.fault(HostileFaults.kind(injected));
    }

    /** Something was given up on purpose, which leaves native objects behind. */
    void expectLeaks() {
        leaking = true;
    }

    boolean isFaulted() {
        return fault != null;
    }

    boolean isBroken() {
        return broken.get();
    }

    /** A fault has struck: whoever waits for this rank shall not wait longer. */
    void breakWaits(String reason) {
        if (broken.compareAndSet(false, true)) {
            Emulator.breakWaits("a fault has struck: " + reason);
        }
    }

    HostileFailure failure(Deque<String> trail, String what, @Nullable Throwable cause) {
        StringBuilder text = new StringBuilder(toString()).append(": ").append(what);
        trail.forEach(line -> text.append("\n  ").append(line));
        return new HostileFailure(text.toString(), cause);
    }

    @Override
    public String toString() {
        return "sequence " + Long.toHexString(seed) + " (" + shape + ", " + model.shape()
                + (fault == null ? ")" : ", fault: " + fault + ")");
    }
}
