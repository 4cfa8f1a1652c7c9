package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.NativeObject;
import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpTensor;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.internal.DeviceChanges;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.Window;
import io.nccl4j.nccl.WindowSlice;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * A tensor in device memory, {@code ncclEpTensor_t}: contiguous, rows first. Its descriptor is written once: make a
 * tensor once, and change its {@link #rows(long) rows} from step to step. ({@code ncclEpTensorAlloc} would put the same
 * descriptor into memory of the library.)
 *
 * <p>Used by one thread at a time. It does not own its memory; after the memory, or its window, is closed every use is
 * refused.
 */
public final class EpTensor {
    private final DeviceMemory memory;
    /** A graph that uses the tensor keeps this open: the window, which keeps its memory open, or the memory. */
    private final NativeObject holder;
    private final DataType type;
    private final long[] shape;
    private final long data;
    /** The descriptor; the extents stand behind it. Freed when this tensor is collected. */
    private final MemorySegment struct;
    private final long descriptor;
    private final DeviceChanges changes;
    private long rows;
    private boolean fixed;
    private @Nullable Object checked;

    private EpTensor(DeviceMemory memory, @Nullable WindowSlice slice, long data, long bytes, DataType type,
            long[] shape) {
        checkExtents(shape, type, bytes);
        this.memory = memory;
        this.holder = slice == null ? memory : slice.window();
        this.type = type;
        this.shape = shape.clone();
        this.rows = shape[0];
        this.data = data;
        long size = ncclEpTensor.sizeof();
        this.struct = Arena.ofAuto().allocate(size + JAVA_LONG.byteSize() * shape.length, JAVA_LONG.byteSize());
        ncclEpTensor.size(struct, NcclEp.NCCL_EP_TENSOR_V1_SIZE());
        ncclEpTensor.magic(struct, NcclEp.NCCL_EP_TENSOR_MAGIC());
        ncclEpTensor.ndim(struct, shape.length);
        ncclEpTensor.datatype(struct, type.code());
        // Also for windows, so that nothing depends on where the library resolves them and where not.
        ncclEpTensor.data(struct, MemorySegment.ofAddress(data));
        if (slice != null) {
            ncclEpTensor.win_hdl(struct, MemorySegment.ofAddress(slice.window().address()));
            ncclEpTensor.win_offset(struct, slice.offset());
        }
        ncclEpTensor.sizes(struct, struct.asSlice(size));
        MemorySegment.copy(shape, 0, struct, JAVA_LONG, size, shape.length);
        this.descriptor = struct.address();
        this.changes = DeviceChanges.of(memory.device().ordinal());
    }

    private static void checkExtents(long[] shape, DataType type, long bytes) {
        boolean illegal = shape.length == 0;
        long needed = type.byteSize();
        for (long extent : shape) {
            illegal |= extent < 0;
            needed = extent != 0 && needed > Long.MAX_VALUE / extent ? Long.MAX_VALUE : needed * extent;
        }
        Rule.TENSOR_EXTENTS.refuseIf(illegal, "shape is %s: must have at least one extent, none negative",
                Arrays.toString(shape));
        Rule.TENSOR_EXTENTS.refuseIf(needed > bytes, "%s %s takes %d bytes: the memory has %d", type,
                Arrays.toString(shape), needed, bytes);
    }

    /**
     * {@return a tensor at the start of {@code memory}}
     *
     * @param memory the memory
     * @param type type of the elements
     * @param shape its extents; the first is the number of rows, and the most that {@link #rows(long)} may set
     * @throws IllegalArgumentException if an extent is negative, or the memory is too small
     * @throws IllegalStateException if the memory is closed
     */
    public static EpTensor of(DeviceMemory memory, DataType type, long... shape) {
        return new EpTensor(memory, null, memory.address(), memory.byteSize(), type, shape);
    }

    /**
     * {@return a tensor in a window, which the other ranks can read and write directly ({@code win_hdl}, {@code
     * win_offset})} All ranks must use the same offset.
     *
     * @param slice the part of the window
     * @param type type of the elements
     * @param shape its extents, rows first
     * @throws IllegalArgumentException if an extent is negative, or the slice is too small
     * @throws IllegalStateException if the window is closed
     */
    public static EpTensor inWindow(WindowSlice slice, DataType type, long... shape) {
        return inWindow(slice, slice.window().memory(), type, shape);
    }

    /** @param part memory that covers the slice */
    static EpTensor inWindow(WindowSlice slice, DeviceMemory part, DataType type, long... shape) {
        return new EpTensor(part, slice, slice.address(), slice.byteSize(), type, shape);
    }

    /**
     * Sets the number of rows, the first extent, and returns this tensor. A few nanoseconds, nothing allocated. Work
     * that was enqueued or captured before keeps the number that it was given.
     *
     * @param count from 0 to the first extent of the shape
     * @return this tensor
     * @throws IllegalArgumentException if there is no room for so many
     * @throws IllegalStateException if the memory or the window is closed
     */
    public EpTensor rows(long count) {
        checkRows(count);
        if (holder.isClosed()) {
            throw closed();
        }
        if (rows != count) {
            setRows(count);
            changes.add();
        }
        return this;
    }

    /** The same without a check, for the descriptors that {@link EpBuffers} keeps for its calls. */
    void setRows(long count) {
        rows = count;
        struct.set(JAVA_LONG, ncclEpTensor.sizeof(), count);
    }

    /** Whether it can have so many. */
    void checkRows(long count) {
        if (count < 0 || count > shape[0] || fixed) {
            refuseRows(count);
        }
    }

    private void refuseRows(long count) {
        Rule.TENSOR_ROWS.refuseIf(fixed && count != rows, "%d rows: %s belongs to buffers and keeps its shape", count,
                this);
        Rule.TENSOR_ROWS.refuseIf(count < 0 || count > shape[0], "%d rows: %s has room for 0 to %d", count, this,
                shape[0]);
    }

    /** {@return the number of rows as set by {@link #rows(long)}, at first all} */
    public long rows() {
        return rows;
    }

    /** {@return the extents, rows first, with the present number of rows} */
    public long[] shape() {
        long[] copy = shape.clone();
        copy[0] = rows;
        return copy;
    }

    /** {@return type of the elements} */
    public DataType type() {
        return type;
    }

    /**
     * {@return address of the first element on the device}
     *
     * @throws IllegalStateException if the memory or the window is closed
     */
    public long address() {
        descriptor();
        return data;
    }

    /**
     * {@return the memory that it lies in: at its start, or in that of its window} Tensors of {@link EpBuffers} start
     * their memory.
     */
    public DeviceMemory memory() {
        return memory;
    }

    /** {@return bytes of all rows that there is room for} */
    public long byteSize() {
        return TensorShape.of(type, shape).bytes();
    }

    /** {@return whether the other ranks can reach it through a window} */
    public boolean isInWindow() {
        return holder != memory;
    }

    @Nullable
    Window window() {
        return holder instanceof Window window ? window : null;
    }

    /** From now on it keeps its rows. */
    EpTensor fixed() {
        fixed = true;
        return this;
    }

    /** The tensor as the rules see it now. */
    TensorShape facts() {
        return new TensorShape(type, data, isInWindow(), shape());
    }

    static @Nullable TensorShape facts(@Nullable EpTensor tensor) {
        return tensor == null ? null : tensor.facts();
    }

    /** Address of the {@code ncclEpTensor_t}, for as long as this tensor is reachable. */
    long descriptor() {
        if (holder.isClosed()) {
            throw closed();
        }
        return descriptor;
    }

    boolean isClosed() {
        return holder.isClosed();
    }

    private IllegalStateException closed() {
        return new IllegalStateException(this + " cannot be used: its memory or window is closed");
    }

    /** Whether everything but the number of rows was last found right for {@code whom}. */
    boolean isChecked(Object whom) {
        return checked == whom;
    }

    void checked(Object whom) {
        checked = whom;
    }

    /** The window, or the memory. */
    NativeObject holder() {
        return holder;
    }

    @Override
    public String toString() {
        return "EpTensor " + facts() + (isClosed() ? " (closed)" : "");
    }
}
