package io.nccl4j.cuda;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.CaptureScope;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Page-locked host memory, {@code cudaMallocHost}: the memory that asynchronous copies read and write. From any thread.
 * A reset of its device ends the memory: a later access throws {@link IllegalStateException} ("Already closed").
 */
public final class PinnedMemory extends DeviceResource {
    private final MemorySegment segment;
    private final Arena arena;

    private PinnedMemory(long address, long bytes, CudaDevice device, Arena arena) {
        super("PinnedMemory", address, device, true);
        this.arena = arena;
        this.segment = MemorySegment.ofAddress(address).reinterpret(bytes, arena, null);
        device.addHostMemory(arena);
    }

    /**
     * Allocates.
     *
     * @param device the device whose transfers it serves
     * @param bytes at least 1
     * @return the memory
     * @throws IllegalArgumentException if the size is not positive
     * @throws IllegalStateException during a capture
     * @throws CudaException if there is not enough memory, or the device has failed
     */
    public static PinnedMemory allocate(CudaDevice device, long bytes) {
        if (bytes <= 0) {
            throw new IllegalArgumentException("size is " + bytes + " bytes: must be at least 1");
        }
        CaptureScope.refuse("PinnedMemory.allocate", "allocate before the capture");
        device.checkUsable();
        long address = device.create("cudaMallocHost(" + bytes + " bytes)",
                out -> CudaRuntime.cudaMallocHost(out, bytes));
        return new PinnedMemory(address, bytes, device, Arena.ofShared());
    }

    /**
     * {@return the memory itself; accessible until it is closed, from any thread}
     *
     * @throws IllegalStateException after close or a reset of the device
     */
    public MemorySegment segment() {
        address();
        checkNotReset("PinnedMemory.segment");
        return segment;
    }

    /** {@return its size in bytes} */
    public long byteSize() {
        return segment.byteSize();
    }

    @Override
    void released() {
        device().closeHostMemory(arena);
    }

    @Override
    void destroy(MemorySegment self) {
        device().checkCurrent("cudaFreeHost", () -> CudaRuntime.cudaFreeHost(self));
    }
}
