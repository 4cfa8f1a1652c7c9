package io.nccl4j.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.CaptureScope;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** Page-locked host memory, {@code cudaMallocHost}: what asynchronous copies read and write. */
public final class PinnedMemory extends DeviceResource {
    private final MemorySegment segment;
    private final Arena arena;

    private PinnedMemory(long address, long bytes, CudaDevice device, Arena arena) {
        super("PinnedMemory", address, device, true);
        this.arena = arena;
        this.segment = MemorySegment.ofAddress(address).reinterpret(bytes, arena, null);
    }

    /**
     * Allocates.
     *
     * @param device the device whose transfers it serves
     * @param bytes at least 1
     */
    public static PinnedMemory allocate(CudaDevice device, long bytes) {
        if (bytes <= 0) {
            throw new IllegalArgumentException("size is " + bytes + " bytes: must be at least 1");
        }
        CaptureScope.refuse("PinnedMemory.allocate", "allocate before the capture");
        device.checkUsable();
        long address = device.call(() -> {
            try (Arena confined = Arena.ofConfined()) {
                MemorySegment out = confined.allocate(ADDRESS);
                device.check(CudaRuntime.cudaMallocHost(out, bytes), "cudaMallocHost(" + bytes + " bytes)");
                return out.get(ADDRESS, 0).address();
            }
        });
        return new PinnedMemory(address, bytes, device, Arena.ofShared());
    }

    /** The memory itself; accessible until it is closed, from any thread. */
    public MemorySegment segment() {
        address();
        return segment;
    }

    /** Its size in bytes. */
    public long byteSize() {
        return segment.byteSize();
    }

    @Override
    void released() {
        arena.close();
    }

    @Override
    void destroy(long address) {
        device().check(CudaRuntime.cudaFreeHost(MemorySegment.ofAddress(address)), "cudaFreeHost");
    }
}
