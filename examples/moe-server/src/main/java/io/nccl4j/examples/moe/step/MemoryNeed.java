package io.nccl4j.examples.moe.step;

import com.sun.management.OperatingSystemMXBean;
import io.nccl4j.Backend;
import io.nccl4j.NativeLibraries;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.examples.moe.model.ModelConfig;
import io.nccl4j.examples.moe.model.ModelException;
import java.lang.management.ManagementFactory;
import java.util.Locale;

/** Adds up the device memory that a rank will take, before anything is loaded. */
final class MemoryNeed {
    /** Contexts of CUDA, NCCL and cuBLAS. */
    private static final long REST = 1L << 30;

    private MemoryNeed() {
    }

    static void check(ModelConfig model, RankOptions options, CudaDevice device) {
        int local = model.experts() / options.ranks();
        int capacity = options.ranks() * options.maxRows();
        long weights = model.weightBytes(options.ranks());
        long cache = model.cacheBytes((long) options.slots() * options.context());
        // Received rows and experts' outputs, and about as much again inside of NCCL EP.
        long rows = StepMemory.bytes(model, options.maxRows(), local, capacity, options.context())
                + 4L * 2 * local * capacity * model.hidden();
        long sum = weights + cache + rows;
        long free = device.memoryInfo().freeBytes();
        if (NativeLibraries.backend() == Backend.EMULATOR) {
            // Its devices have as much as they are asked for: all of it is this machine's own.
            free = Math.min(free, machineBytes() / 2 / options.ranks());
        }
        if (sum > free - Math.min(REST, free / 16)) {
            throw new ModelException(
                    "%s needs %s on each of %d ranks (weights %s, cache %s, rows %s), and %s has %s free: ".formatted(
                            model.name(), gib(sum), options.ranks(), gib(weights), gib(cache), gib(rows), device,
                            gib(free)) + "lower --slots, --context or --layers, or take more ranks");
        }
    }

    private static long machineBytes() {
        return ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class).getTotalMemorySize();
    }

    private static String gib(long bytes) {
        return String.format(Locale.ROOT, "%.2f GiB", bytes / (double) (1L << 30));
    }
}
