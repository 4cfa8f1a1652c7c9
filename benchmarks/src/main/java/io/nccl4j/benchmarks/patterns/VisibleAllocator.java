package io.nccl4j.benchmarks.patterns;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.EpAllocator;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** Allocates for NCCL EP by calls of our own, which the emulator counts; those of the library itself it does not. */
final class VisibleAllocator implements EpAllocator {
    private final CudaDevice device;
    private final Map<Long, DeviceMemory> given = new ConcurrentHashMap<>();

    VisibleAllocator(CudaDevice device) {
        this.device = device;
    }

    @Override
    public long allocate(long bytes) {
        DeviceMemory memory = DeviceMemory.allocate(device, bytes);
        given.put(memory.address(), memory);
        return memory.address();
    }

    @Override
    public void free(long address) {
        given.remove(address).close();
    }
}
