package io.nccl4j.safety.hostile;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.EpAllocator;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/** Allocates for NCCL EP from the device; fails now and then if it shall. To be closed after all that uses it. */
final class TrackingAllocator implements EpAllocator, AutoCloseable {
    private final CudaDevice device;
    private final boolean fails;
    private final AtomicInteger calls = new AtomicInteger();
    private final Map<Long, DeviceMemory> given = new ConcurrentHashMap<>();

    TrackingAllocator(CudaDevice device, boolean fails) {
        this.device = device;
        this.fails = fails;
    }

    @Override
    public long allocate(long bytes) {
        if (fails && calls.incrementAndGet() % 5 == 0) {
            throw new ArgumentSource.Broken();
        }
        DeviceMemory memory = DeviceMemory.allocate(device, bytes);
        given.put(memory.address(), memory);
        return memory.address();
    }

    @Override
    public void free(long address) {
        given.remove(address).close();
    }

    /** Memory that the library has not given back, because its owner was abandoned. */
    @Override
    public void close() {
        given.values().forEach(DeviceMemory::close);
        given.clear();
    }
}
