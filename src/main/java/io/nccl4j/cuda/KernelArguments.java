package io.nccl4j.cuda;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_INT_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static java.lang.foreign.ValueLayout.JAVA_LONG_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_SHORT_UNALIGNED;

import io.nccl4j.bindings.cudart.cudaLaunchConfig_st;
import io.nccl4j.bindings.cudart.dim3;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The arguments of one kernel: made once by {@link CudaKernel#arguments()}, changed in place, given to any number of
 * launches. A launch takes the values that they have at the call; a captured one keeps those of its capture. Values
 * that change from replay to replay are read from device memory by the kernel.
 *
 * <p>Each setter checks that the parameter has the size of the value. Used by one thread at a time. Setters allocate
 * nothing.
 */
public final class KernelArguments {
    private static final long CONFIG = 0;
    private static final long POINTERS = cudaLaunchConfig_st.sizeof();
    private static final long GRID = cudaLaunchConfig_st.gridDim$offset();
    private static final long BLOCK = cudaLaunchConfig_st.blockDim$offset();
    private static final long SHARED = cudaLaunchConfig_st.dynamicSmemBytes$offset();
    private static final long STREAM = cudaLaunchConfig_st.stream$offset();
    private static final long Y = dim3.y$offset();
    private static final long Z = dim3.z$offset();

    private final KernelParameters parameters;
    /** The launch configuration, a pointer to each value, the values. Collected with this object. */
    private final MemorySegment block;
    private final long values;
    private final boolean[] set;
    private final @Nullable DeviceMemory[] memory;
    private int unset;

    KernelArguments(KernelParameters parameters) {
        this.parameters = parameters;
        int count = parameters.count();
        this.values = (POINTERS + 8L * count + 15) / 16 * 16;
        this.block = Arena.ofAuto().allocate(values + Math.max(parameters.byteSize(), 1), 16);
        for (int i = 0; i < count; i++) {
            block.set(JAVA_LONG, POINTERS + 8L * i, block.address() + values + parameters.offset(i));
        }
        this.set = new boolean[count];
        this.memory = new DeviceMemory[count];
        this.unset = count;
    }

    /**
     * An 8-byte integer, or the address of memory whose owner keeps it alive.
     *
     * @param index number of the parameter, from 0
     * @param value the setting
     * @return this
     */
    public KernelArguments setLong(int index, long value) {
        parameters.check(index, Long.BYTES, "setLong");
        block.set(JAVA_LONG_UNALIGNED, place(index, null), value);
        return this;
    }

    /**
     * A 4-byte integer.
     *
     * @param index number of the parameter, from 0
     * @param value the setting
     * @return this
     */
    public KernelArguments setInt(int index, int value) {
        parameters.check(index, Integer.BYTES, "setInt");
        block.set(JAVA_INT_UNALIGNED, place(index, null), value);
        return this;
    }

    /**
     * A {@code float}.
     *
     * @param index number of the parameter, from 0
     * @param value the value
     * @return this
     */
    public KernelArguments setFloat(int index, float value) {
        parameters.check(index, Float.BYTES, "setFloat");
        block.set(JAVA_FLOAT_UNALIGNED, place(index, null), value);
        return this;
    }

    /**
     * A {@code double}.
     *
     * @param index number of the parameter, from 0
     * @param value the value
     * @return this
     */
    public KernelArguments setDouble(int index, double value) {
        parameters.check(index, Double.BYTES, "setDouble");
        block.set(JAVA_DOUBLE_UNALIGNED, place(index, null), value);
        return this;
    }

    /**
     * A 2-byte integer, or the bits of a {@code half} or {@code bfloat16}.
     *
     * @param index number of the parameter, from 0
     * @param value the value
     * @return this
     */
    public KernelArguments setShort(int index, short value) {
        parameters.check(index, Short.BYTES, "setShort");
        block.set(JAVA_SHORT_UNALIGNED, place(index, null), value);
        return this;
    }

    /**
     * One byte.
     *
     * @param index number of the parameter, from 0
     * @param value the value
     * @return this
     */
    public KernelArguments setByte(int index, byte value) {
        parameters.check(index, Byte.BYTES, "setByte");
        block.set(JAVA_BYTE, place(index, null), value);
        return this;
    }

    /**
     * A struct that is passed by value: its bytes, as many as the parameter has.
     *
     * @param index number of the parameter, from 0
     * @param value its bytes
     * @return this
     */
    public KernelArguments setBytes(int index, MemorySegment value) {
        parameters.check(index, value.byteSize(), "setBytes");
        MemorySegment.copy(value, 0, block, place(index, null), value.byteSize());
        return this;
    }

    /**
     * The address of device memory. Launches refuse it after it was closed; a graph that captures a launch keeps it
     * from being closed.
     *
     * @param index number of the parameter, from 0
     * @param value the memory
     * @return this
     */
    public KernelArguments setAddress(int index, DeviceMemory value) {
        parameters.check(index, Long.BYTES, "setAddress");
        long address = value.address();
        block.set(JAVA_LONG_UNALIGNED, place(index, value), address);
        return this;
    }

    private long place(int index, @Nullable DeviceMemory pointedTo) {
        if (!set[index]) {
            set[index] = true;
            unset--;
        }
        memory[index] = pointedTo;
        return values + parameters.offset(index);
    }

    KernelParameters parameters() {
        return parameters;
    }

    /** Throws if an argument was never set, or is memory that is closed or of another device. */
    void checkReady(CudaDevice device) {
        if (unset != 0) {
            throw new IllegalStateException("kernel '" + parameters.kernel() + "': parameter" + missing()
                    + " never set. Its parameters: " + parameters);
        }
        for (DeviceMemory pointedTo : memory) {
            if (pointedTo != null) {
                pointedTo.address();
                if (pointedTo.device() != device) {
                    throw new IllegalArgumentException(
                            "kernel '" + parameters.kernel() + "' runs on " + device + " and was given " + pointedTo);
                }
            }
        }
    }

    private String missing() {
        List<Integer> indexes = new ArrayList<>();
        for (int i = 0; i < set.length; i++) {
            if (!set[i]) {
                indexes.add(i);
            }
        }
        return indexes.size() == 1 ? " " + indexes.getFirst() + " was" : "s " + indexes + " were";
    }

    /** Writes the launch configuration and returns its address. */
    long configure(Dim3 grid, Dim3 threads, long sharedBytes, long stream) {
        block.set(JAVA_INT, GRID, grid.x());
        block.set(JAVA_INT, GRID + Y, grid.y());
        block.set(JAVA_INT, GRID + Z, grid.z());
        block.set(JAVA_INT, BLOCK, threads.x());
        block.set(JAVA_INT, BLOCK + Y, threads.y());
        block.set(JAVA_INT, BLOCK + Z, threads.z());
        block.set(JAVA_LONG, SHARED, sharedBytes);
        block.set(JAVA_LONG, STREAM, stream);
        return block.address() + CONFIG;
    }

    /** The address of the pointers to the values. */
    long pointers() {
        return block.address() + POINTERS;
    }

    /** The graph that the stream captures into keeps the memory from being closed. */
    void retain(CudaStream stream) {
        for (DeviceMemory pointedTo : memory) {
            if (pointedTo != null) {
                stream.retain(pointedTo);
            }
        }
    }

    @Override
    public String toString() {
        return "KernelArguments of '" + parameters.kernel() + "' (" + parameters + ")";
    }
}
