package io.nccl4j.ep;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceMemory;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** Allocates from a device, knows what is in use, and can be made to throw. */
public final class DeviceAllocator implements EpAllocator, AutoCloseable {
    private final CudaDevice device;
    private final Map<Long, DeviceMemory> live = new ConcurrentHashMap<>();
    /** Comes before each allocation. */
    public volatile Runnable allocating = () -> {
    };
    /** Comes when something was freed. */
    public volatile Runnable freed = () -> {
    };

    public DeviceAllocator(CudaDevice device) {
        this.device = device;
    }

    @Override
    public long allocate(long bytes) {
        allocating.run();
        DeviceMemory memory = DeviceMemory.allocate(device, bytes);
        live.put(memory.address(), memory);
        return memory.address();
    }

    @Override
    public void free(long address) {
        live.remove(address).close();
        freed.run();
    }

    /** Allocations that were not given back. */
    public int live() {
        return live.size();
    }

    /** Frees what the library has not given back, because its owner was abandoned. */
    @Override
    public void close() {
        live.values().forEach(DeviceMemory::close);
        live.clear();
    }
}
