package io.nccl4j.benchmarks.patterns;

import com.sun.management.ThreadMXBean;
import io.nccl4j.emulator.Emulator;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import org.HdrHistogram.Histogram;

/**
 * The cost of a step to the host.
 *
 * @param pattern how it is made
 * @param nativeCalls per step
 * @param hostMicrosPerLayer median
 * @param hostWaits times per step that the host waits for the device
 * @param deviceAllocations per step
 * @param heapBytes least number of bytes per step on the Java heap, of several rounds: the VM allocates for itself
 *     as well
 */
record PatternCost(String pattern, double nativeCalls, double hostMicrosPerLayer, double hostWaits,
        long deviceAllocations, long heapBytes) {
    private static final Duration LIMIT = Duration.ofSeconds(60);
    private static final int ROUNDS = 10;

    /**
     * Counts the allocations of device memory of one step, after one that is not counted.
     *
     * @param work whose allocations are visible
     */
    static long deviceAllocations(Patterns pattern, LayerWork work, int layers) {
        try (StepPattern step = pattern.make(work, layers)) {
            step.enqueue();
            work.stream.await(LIMIT);
            long before = allocations();
            step.enqueue();
            work.stream.await(LIMIT);
            return allocations() - before;
        }
    }

    /**
     * Measures a pattern.
     *
     * @param steps measured, after as many for warming up
     * @param deviceAllocations of a step
     */
    static PatternCost measure(Patterns pattern, LayerWork work, int layers, int steps, long deviceAllocations) {
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        try (StepPattern step = pattern.make(work, layers)) {
            for (int i = 0; i < steps; i++) {
                step.enqueue();
                work.stream.await(LIMIT);
            }
            Histogram times = new Histogram(3);
            long calls = 0;
            long waits = 0;
            long leastBytes = Long.MAX_VALUE;
            int perRound = Math.max(1, steps / ROUNDS);
            for (int round = 0; round < ROUNDS; round++) {
                long bytes = 0;
                for (int i = 0; i < perRound; i++) {
                    long callsBefore = Emulator.callCount();
                    long waitsBefore = waits();
                    long bytesBefore = threads.getCurrentThreadAllocatedBytes();
                    long start = System.nanoTime();
                    step.enqueue();
                    times.recordValue(System.nanoTime() - start);
                    bytes += threads.getCurrentThreadAllocatedBytes() - bytesBefore;
                    calls += Emulator.callCount() - callsBefore;
                    waits += waits() - waitsBefore;
                    work.stream.await(LIMIT);
                }
                leastBytes = Math.min(leastBytes, bytes / perRound);
            }
            double all = (double) ROUNDS * perRound;
            return new PatternCost(pattern.title(), calls / all, times.getValueAtPercentile(50) / 1e3 / layers,
                    waits / all, deviceAllocations, leastBytes);
        }
    }

    /** Waits with a limit poll an event made for that; the others are counted by the emulator. */
    private static long waits() {
        return Emulator.usage().hostWaits() + Emulator.callCount("cudaEventCreateWithFlags");
    }

    private static long allocations() {
        return Emulator.callCount("cudaMalloc") + Emulator.callCount("cudaMallocAsync")
                + Emulator.callCount("ncclMemAlloc");
    }
}
