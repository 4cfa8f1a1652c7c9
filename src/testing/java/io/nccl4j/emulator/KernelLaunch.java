package io.nccl4j.emulator;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_INT_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_LONG_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_SHORT_UNALIGNED;

import io.nccl4j.bindings.emulator.EmulatorControl;
import io.nccl4j.bindings.emulator.nccl4jEmuLaunch_t;
import io.nccl4j.cuda.Dim3;
import java.lang.foreign.Arena;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * One run of a kernel: its geometry, its arguments as they were at the launch or its capture, and the memory that they
 * point to. Valid until the kernel returns, on the thread that it runs on.
 */
public final class KernelLaunch {
    /** The range is no live memory of the device; the emulator has kept the reason. */
    static final class IllegalAddressException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        IllegalAddressException(String message) {
            super(message);
        }
    }

    private final KernelCalls.Registered kernel;
    private final MemorySegment launch;
    private final MemorySegment arguments;
    private final Arena arena;

    KernelLaunch(KernelCalls.Registered kernel, MemorySegment launch, Arena arena) {
        this.kernel = kernel;
        this.launch = launch;
        this.arguments = nccl4jEmuLaunch_t.arguments(launch).reinterpret(kernel.argumentBytes(), arena, null)
                .asReadOnly();
        this.arena = arena;
    }

    /** Blocks of the launch. */
    public Dim3 grid() {
        return extent(nccl4jEmuLaunch_t.grid(launch));
    }

    /** Threads of a block. */
    public Dim3 block() {
        return extent(nccl4jEmuLaunch_t.block(launch));
    }

    private static Dim3 extent(MemorySegment three) {
        return Dim3.of(three.getAtIndex(JAVA_INT, 0), three.getAtIndex(JAVA_INT, 1), three.getAtIndex(JAVA_INT, 2));
    }

    /** Dynamic shared memory of a block, in bytes. */
    public long sharedBytes() {
        return nccl4jEmuLaunch_t.shared_bytes(launch);
    }

    /** Ordinal of the device that it runs on. */
    public int device() {
        return nccl4jEmuLaunch_t.device(launch);
    }

    /** Whether the launch of a graph runs it. */
    public boolean isReplay() {
        return nccl4jEmuLaunch_t.from_graph(launch) != 0;
    }

    /** An 8-byte argument. */
    public long getLong(int index) {
        return arguments.get(JAVA_LONG_UNALIGNED, place(index, Long.BYTES));
    }

    /** A 4-byte argument. */
    public int getInt(int index) {
        return arguments.get(JAVA_INT_UNALIGNED, place(index, Integer.BYTES));
    }

    /** A {@code float} argument. */
    public float getFloat(int index) {
        return arguments.get(JAVA_FLOAT_UNALIGNED, place(index, Float.BYTES));
    }

    /** A {@code double} argument. */
    public double getDouble(int index) {
        return arguments.get(JAVA_DOUBLE_UNALIGNED, place(index, Double.BYTES));
    }

    /** A 2-byte argument. */
    public short getShort(int index) {
        return arguments.get(JAVA_SHORT_UNALIGNED, place(index, Short.BYTES));
    }

    /** A 1-byte argument. */
    public byte getByte(int index) {
        return arguments.get(JAVA_BYTE, place(index, Byte.BYTES));
    }

    /** An argument of any size, read-only. */
    public MemorySegment getBytes(int index) {
        MemoryLayout parameter = kernel.parameter(index);
        return arguments.asSlice(kernel.offset(index), parameter.byteSize());
    }

    private long place(int index, long bytes) {
        MemoryLayout parameter = kernel.parameter(index);
        if (parameter.byteSize() != bytes) {
            throw new IllegalArgumentException("parameter " + index + " of kernel '" + kernel.name() + "' has "
                    + parameter.byteSize() + " bytes and was read as one of " + bytes);
        }
        return kernel.offset(index);
    }

    /**
     * The memory that an argument points to, to read and write: {@code bytes} of it, which must lie in one live
     * allocation of the device or in pinned memory. If they do not, the kernel ends as one does on a GPU, with {@code
     * cudaErrorIllegalAddress}.
     */
    public MemorySegment memory(int index, long bytes) {
        return memoryAt(getLong(index), bytes);
    }

    /** Likewise the memory at an address that the kernel has computed or read. */
    public MemorySegment memoryAt(long address, long bytes) {
        MemorySegment memory = MemorySegment.ofAddress(address);
        if (bytes < 0 || EmulatorControl.nccl4jEmuKernelTouch(launch, memory, bytes) != 0) {
            throw new IllegalAddressException(bytes + " bytes at 0x" + Long.toHexString(address));
        }
        return memory.reinterpret(bytes, arena, null);
    }

    /** The same as an array of {@code count} elements: {@code memory(0, JAVA_FLOAT, n)}. */
    public MemorySegment memory(int index, ValueLayout element, long count) {
        return memory(index, Math.multiplyExact(element.byteSize(), count));
    }

    @Override
    public String toString() {
        return "kernel '" + kernel.name() + "', grid " + grid() + ", block " + block() + " on device " + device();
    }
}
