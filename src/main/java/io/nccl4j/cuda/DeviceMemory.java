package io.nccl4j.cuda;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.CaptureScope;
import java.lang.foreign.MemorySegment;
import java.util.function.LongConsumer;
import org.jspecify.annotations.Nullable;

/**
 * A range of device memory. Owned if allocated here, borrowed if wrapped or sliced. From any thread, but for operations
 * on a stream, which belong to the stream's thread.
 */
public final class DeviceMemory extends DeviceResource {
    private final long byteSize;
    private final @Nullable LongConsumer free;
    private final @Nullable DeviceMemory whole;
    private volatile boolean abandoned;

    private DeviceMemory(String kind, long address, long byteSize, CudaDevice device, @Nullable LongConsumer free) {
        super(kind, address, device, free != null);
        this.byteSize = byteSize;
        this.free = free;
        this.whole = null;
    }

    private DeviceMemory(DeviceMemory whole, long offset, long byteSize) {
        super("DeviceMemory(slice)", whole.address() + offset, whole.device(), false, whole);
        this.byteSize = byteSize;
        this.free = null;
        this.whole = whole;
    }

    /**
     * Allocates, {@code cudaMalloc}. The contents are undefined.
     *
     * @param device the device
     * @param bytes at least 1
     * @return the memory
     * @throws IllegalArgumentException if the size is not positive
     * @throws IllegalStateException during a capture
     * @throws CudaException if there is not enough memory, or the device has failed
     */
    public static DeviceMemory allocate(CudaDevice device, long bytes) {
        checkSize(bytes);
        CaptureScope.refuse("DeviceMemory.allocate", "allocate before the capture, at maximum capacity");
        device.checkUsable();
        long address = device.create("cudaMalloc(" + bytes + " bytes)", out -> CudaRuntime.cudaMalloc(out, bytes));
        return new DeviceMemory("DeviceMemory", address, bytes, device,
                memory -> device.checkCurrent("cudaFree", () -> CudaRuntime.cudaFree(MemorySegment.ofAddress(memory))));
    }

    /**
     * Allocates in stream order, {@code cudaMallocAsync}: usable by work that is enqueued on {@code stream} afterwards.
     * Closing waits for the device and frees.
     *
     * @param stream the stream that the work is enqueued on
     * @param bytes number of bytes
     * @return the memory
     * @throws IllegalArgumentException if the size is not positive
     * @throws IllegalStateException during a capture, or if the stream is closed or belongs to another thread
     * @throws CudaException if there is not enough memory, or the device has failed
     */
    public static DeviceMemory allocateAsync(CudaStream stream, long bytes) {
        checkSize(bytes);
        CaptureScope.refuse("DeviceMemory.allocateAsync", "allocate before the capture, at maximum capacity");
        stream.checkThread("DeviceMemory.allocateAsync");
        CudaDevice device = stream.device();
        device.checkUsable();
        long address = device.create("cudaMallocAsync(" + bytes + " bytes)",
                out -> CudaRuntime.cudaMallocAsync(out, bytes, stream.pointer()));
        return new DeviceMemory("DeviceMemory", address, bytes, device, memory -> device.checkCurrent("cudaFreeAsync",
                () -> CudaRuntime.cudaFreeAsync(MemorySegment.ofAddress(memory), MemorySegment.NULL)));
    }

    /**
     * {@return memory of another owner (TornadoVM, JavaCPP, JCuda, ND4J, ...), which must stay allocated until this is
     * closed; closing does not free it}
     *
     * @param address address of the native object, not 0
     * @param bytes number of bytes
     * @param device the device
     */
    public static DeviceMemory wrap(long address, long bytes, CudaDevice device) {
        checkSize(bytes);
        return new DeviceMemory("DeviceMemory(wrapped)", address, bytes, device, null);
    }

    /**
     * {@return memory of another allocator, which is owned from now on: closing waits for the device and gives it back}
     *
     * @param address address of the native object, not 0
     * @param bytes number of bytes
     * @param device the device
     * @param free gives the memory at an address back; the device is current when it is called
     */
    public static DeviceMemory adopt(long address, long bytes, CudaDevice device, LongConsumer free) {
        checkSize(bytes);
        return new DeviceMemory("DeviceMemory(adopted)", address, bytes, device, free);
    }

    private static void checkSize(long bytes) {
        if (bytes <= 0) {
            throw new IllegalArgumentException("size is " + bytes + " bytes: must be at least 1");
        }
    }

    /**
     * {@return a part of this memory, which cannot be closed before the part}
     *
     * @param offsetBytes where it starts, in bytes
     * @param bytes number of bytes
     * @throws IllegalArgumentException if the range is not inside of this memory
     * @throws IllegalStateException after close
     */
    public DeviceMemory slice(long offsetBytes, long bytes) {
        checkSize(bytes);
        checkRange(offsetBytes, bytes);
        return new DeviceMemory(this, offsetBytes, bytes);
    }

    /** {@return its size in bytes} */
    public long byteSize() {
        return byteSize;
    }

    /**
     * Copies host memory in and waits, {@code cudaMemcpy}.
     *
     * @param source host memory to read
     * @throws IllegalArgumentException if the source has more bytes than this memory
     * @throws IllegalStateException after close or during a capture
     * @throws CudaException if the device has failed
     */
    public void copyFrom(MemorySegment source) {
        CaptureScope.refuse("DeviceMemory.copyFrom", "use copyFromAsync");
        checkRange(0, source.byteSize());
        copy(pointer(), source, source.byteSize());
    }

    /**
     * Copies to host memory and waits, {@code cudaMemcpy}; as many bytes as {@code target} has.
     *
     * @param target host memory to write
     * @throws IllegalArgumentException if the target has more bytes than this memory, or is read-only
     * @throws IllegalStateException after close or during a capture
     * @throws CudaException if the device has failed
     */
    public void copyTo(MemorySegment target) {
        CaptureScope.refuse("DeviceMemory.copyTo", "use copyToAsync");
        if (target.isReadOnly()) {
            throw new IllegalArgumentException("the target of a copy is a read-only segment: " + target);
        }
        checkRange(0, target.byteSize());
        copy(target, pointer(), target.byteSize());
    }

    private void copy(MemorySegment target, MemorySegment source, long bytes) {
        checkNotReset("a copy");
        if (bytes > 0) {
            device().checkUsable();
            device().checkCurrent("cudaMemcpy",
                    () -> CudaRuntime.cudaMemcpy(target, source, bytes, CudaRuntime.cudaMemcpyDefault()));
        }
    }

    /**
     * Enqueues a copy from pinned memory, {@code cudaMemcpyAsync}. The source is read when the copy runs: do not change
     * it before. Capturable.
     *
     * @param source pinned memory to read
     * @param bytes number of bytes
     * @param stream the stream that the work is enqueued on
     */
    public void copyFromAsync(PinnedMemory source, long bytes, CudaStream stream) {
        checkRange(0, bytes);
        checkPinned(source, bytes);
        stream.copy(checkedAddress(), source.segment().address(), bytes);
        stream.retain(this);
        stream.retain(source);
    }

    /**
     * Enqueues a copy to pinned memory, {@code cudaMemcpyAsync}. Capturable.
     *
     * @param target pinned memory to write
     * @param bytes number of bytes
     * @param stream the stream that the work is enqueued on
     * @throws IllegalArgumentException if one of them has fewer bytes
     * @throws IllegalStateException if something is closed, or the stream belongs to another thread
     * @throws CudaException if the device has failed, or is not current
     */
    public void copyToAsync(PinnedMemory target, long bytes, CudaStream stream) {
        checkRange(0, bytes);
        checkPinned(target, bytes);
        stream.copy(target.segment().address(), checkedAddress(), bytes);
        stream.retain(this);
        stream.retain(target);
    }

    /**
     * Enqueues a copy from other device memory, {@code cudaMemcpyAsync}. Capturable.
     *
     * @param source device memory to read
     * @param bytes number of bytes
     * @param stream the stream that the work is enqueued on
     * @throws IllegalArgumentException if one of them has fewer bytes
     * @throws IllegalStateException if something is closed, or the stream belongs to another thread
     * @throws CudaException if the device has failed, or is not current
     */
    public void copyFromAsync(DeviceMemory source, long bytes, CudaStream stream) {
        checkRange(0, bytes);
        source.checkRange(0, bytes);
        stream.copy(checkedAddress(), source.checkedAddress(), bytes);
        stream.retain(this);
        stream.retain(source);
    }

    /**
     * Sets every byte, {@code cudaMemsetAsync}. Capturable.
     *
     * @param value the value
     * @param stream the stream that the work is enqueued on
     * @throws IllegalStateException if something is closed, or the stream belongs to another thread
     * @throws CudaException if the device has failed, or is not current
     */
    public void fillAsync(byte value, CudaStream stream) {
        stream.fill(checkedAddress(), value, byteSize);
        stream.retain(this);
    }

    private long checkedAddress() {
        checkNotReset("an operation");
        return address();
    }

    private static void checkPinned(PinnedMemory memory, long bytes) {
        if (bytes > memory.byteSize()) {
            throw new IllegalArgumentException(
                    "a copy of " + bytes + " bytes: " + memory + " has " + memory.byteSize());
        }
    }

    private void checkRange(long offset, long bytes) {
        if (offset < 0 || bytes < 0 || offset > byteSize - bytes) {
            throw new IllegalArgumentException("range of " + bytes + " bytes from " + offset + " is outside of " + this
                    + ", which has " + byteSize + " bytes");
        }
    }

    /**
     * Closing will not free it: something that cannot be stopped any more, such as another rank, may still write to it.
     */
    public void abandon() {
        abandoned = true;
        if (whole != null) {
            whole.abandon();
        }
    }

    @Override
    void usedOn(CudaDevice other) {
        super.usedOn(other);
        if (whole != null) {
            whole.usedOn(other);
        }
    }

    @Override
    void destroy(MemorySegment self) {
        LongConsumer giveBack = free;
        if (giveBack != null && !abandoned) {
            device().run(() -> giveBack.accept(self.address()));
        }
    }
}
