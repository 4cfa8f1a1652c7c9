package io.nccl4j.checks;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.testing.MoeRank;
import java.lang.management.ManagementFactory;

/** The cost of a step to the host: native calls, waits, allocations on the device and on the heap. */
public final class StepCost {
    public static final int STEPS = 2000;
    public static final int ROUNDS = 8;
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

    private StepCost() {
    }

    /**
     * Asserts that a step neither waits nor allocates. It runs once before, and {@code STEPS * ROUNDS} times.
     *
     * @param calls native calls that it makes
     */
    public static void verify(CudaStream stream, int calls, Runnable step) {
        step.run();
        stream.await(MoeRank.LIMIT);
        EmulatorUsage usage = Emulator.usage();
        long deviceBytes = Emulator.usage(stream.device()).deviceBytes();
        long leastBytes = Long.MAX_VALUE;
        for (int round = 0; round < ROUNDS; round++) {
            long before = Emulator.callCount();
            long bytes = THREADS.getCurrentThreadAllocatedBytes();
            for (int i = 0; i < STEPS; i++) {
                step.run();
            }
            // The VM itself allocates now and then, when it links or compiles something.
            leastBytes = Math.min(leastBytes, THREADS.getCurrentThreadAllocatedBytes() - bytes);
            assertThat(Emulator.callCount() - before).isEqualTo((long) calls * STEPS);
            assertThat(Emulator.usage().hostWaits()).isEqualTo(usage.hostWaits());
            stream.await(MoeRank.LIMIT);
        }
        assertThat(leastBytes).isZero();
        assertThat(Emulator.usage().leakedSince(usage)).isEmpty();
        assertThat(Emulator.usage(stream.device()).deviceBytes()).isEqualTo(deviceBytes);
    }
}
