package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.NativeObject;
import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpTensor;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.Window;
import io.nccl4j.nccl.WindowSlice;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A tensor in device memory, {@code ncclEpTensor_t}: contiguous, rows first. Its descriptor is written once, beside the memory,
 * and takes its room for as long as that: make a tensor once, and change its {@link #rows(long) rows} from step to step. ({@code
 * ncclEpTensorAlloc} puts the same descriptor into memory of the library, and {@code ncclEpTensorDestroy} takes it away; {@link
 * EpGeneration#ofLibrary} is who calls them.)
 *
 * <p>Used by one thread at a time.
 */
public final class EpTensor {
    private final DeviceMemory memory;
    private final @Nullable Window window;
    private final DataType type;
    private final long[] shape;
    private final long data;
    private final MemorySegment extents;
    private long descriptor;
    private long rows;
    private @Nullable EpBuffers owner;
    private final Repeaters repeaters = new Repeaters();
    private final List<NativeStruct> uses = new ArrayList<>();

    private EpTensor(DeviceMemory memory, @Nullable WindowSlice slice, long data, long bytes, DataType type,
            long[] shape) {
        checkExtents(shape, type, bytes);
        this.memory = memory;
        this.window = slice == null ? null : slice.window();
        this.type = type;
        this.shape = shape.clone();
        this.rows = shape[0];
        this.data = data;
        SegmentAllocator arena = memory.descriptors();
        this.extents = arena.allocateFrom(JAVA_LONG, shape);
        MemorySegment struct = arena.allocate(ncclEpTensor.layout());
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
        ncclEpTensor.sizes(struct, extents);
        this.descriptor = struct.address();
        memory.whenClosed(() -> descriptor = 0);
    }

    private static void checkExtents(long[] shape, DataType type, long bytes) {
        boolean legal = shape.length > 0;
        long needed = type.byteSize();
        for (long extent : shape) {
            legal &= extent >= 0;
            needed = extent != 0 && needed > Long.MAX_VALUE / extent ? Long.MAX_VALUE : needed * extent;
        }
        Rule.TENSOR_EXTENTS.require(legal, "shape is %s: must have at least one extent, none negative",
                Arrays.toString(shape));
        Rule.TENSOR_EXTENTS.require(needed <= bytes, "%s %s takes %d bytes: the memory has %d", type,
                Arrays.toString(shape), needed,
                bytes);
    }

    /**
     * A tensor at the start of {@code memory}.
     *
     * @param shape its extents; the first is the number of rows, and the most that {@link #rows} may set
     */
    public static EpTensor of(DeviceMemory memory, DataType type, long... shape) {
        return new EpTensor(memory, null, memory.address(), memory.byteSize(), type, shape);
    }

    /**
     * A tensor in a window, which the other ranks can read and write directly ({@code win_hdl}, {@code win_offset}). All ranks
     * must use the same offset.
     */
    public static EpTensor inWindow(WindowSlice slice, DataType type, long... shape) {
        return inWindow(slice, slice.window().memory(), type, shape);
    }

    /** @param part memory that covers the slice */
    static EpTensor inWindow(WindowSlice slice, DeviceMemory part, DataType type, long... shape) {
        return new EpTensor(part, slice, slice.address(), slice.byteSize(), type, shape);
    }

    /**
     * Sets the number of rows, the first extent, and returns this tensor. A few nanoseconds, nothing allocated. Work that was
     * enqueued or captured before keeps the number that it was given.
     *
     * @param count from 0 to the first extent of the shape
     */
    public EpTensor rows(long count) {
        if (count < 0 || count > shape[0]) {
            checkRows(count);
        }
        if (descriptor == 0) {
            throw closed();
        }
        if (count != rows) {
            rows = count;
            extents.set(JAVA_LONG, 0, count);
            repeaters.forgetCalls();
            // No iterator: this is on the path of every step whose number of tokens changes.
            for (int i = 0; i < uses.size(); i++) {
                uses.get(i).rowsChanged();
            }
            if (owner != null) {
                owner.rowsChanged();
            }
        }
        return this;
    }

    private void checkRows(long count) {
        Rule.TENSOR_ROWS.require(false, "%d rows: %s has room for 0 to %d", count, this, shape[0]);
    }

    /** The number of rows as set by {@link #rows(long)}, at first all. */
    public long rows() {
        return rows;
    }

    /** The extents, with the present number of rows. */
    public long[] shape() {
        long[] copy = shape.clone();
        copy[0] = rows;
        return copy;
    }

    /** Type of the elements. */
    public DataType type() {
        return type;
    }

    /** Address of the first element on the device. */
    public long address() {
        descriptor();
        return data;
    }

    /** The memory that it lies in: at its start, or in that of its window. Tensors of {@link EpBuffers} start their memory. */
    public DeviceMemory memory() {
        return memory;
    }

    /** Bytes of all rows that there is room for. */
    public long byteSize() {
        long elements = 1;
        for (long extent : shape) {
            elements *= extent;
        }
        return type.bytes(elements);
    }

    /** Whether the other ranks can reach it through a window. */
    public boolean isInWindow() {
        return window != null;
    }

    @Nullable
    Window window() {
        return window;
    }

    int dimensions() {
        return shape.length;
    }

    /** An extent; that of the rows is {@link #rows()}. */
    long extent(int dimension) {
        return dimension == 0 ? rows : shape[dimension];
    }

    /** Bytes from one row to the next. */
    long rowBytes() {
        long elements = 1;
        for (int i = 1; i < shape.length; i++) {
            elements *= shape[i];
        }
        return elements * type.byteSize();
    }

    boolean has(DataType expected, long... extents) {
        return type == expected && Arrays.equals(shape(), extents);
    }

    /** Address of the {@code ncclEpTensor_t}. */
    long descriptor() {
        long value = descriptor;
        if (value == 0 || window != null && window.isClosed()) {
            throw closed();
        }
        return value;
    }

    boolean isClosed() {
        return descriptor == 0 || window != null && window.isClosed();
    }

    private IllegalStateException closed() {
        return new IllegalStateException(this + " cannot be used: its memory or window is closed");
    }

    /** {@code use} points to this tensor, and hears of changes of its rows. */
    void addUse(NativeStruct use) {
        for (int i = uses.size() - 1; i >= 0; i--) {
            if (uses.get(i).isClosed()) {
                uses.remove(i);
            }
        }
        uses.add(use);
    }

    List<NativeStruct> uses() {
        return uses;
    }

    /** Who has this as a routing, and is to look again when its rows change. */
    Repeaters repeaters() {
        return repeaters;
    }

    /** The memory belongs to buffers, and so does whoever uses it. */
    EpTensor ownedBy(EpBuffers buffers) {
        owner = buffers;
        return this;
    }

    /** What work that uses it needs: its buffers, or the window, which holds the memory, or the memory. */
    NativeObject resource() {
        NativeObject buffers = owner;
        return buffers != null ? buffers : window != null ? window : memory;
    }

    @Override
    public String toString() {
        return "EpTensor " + type + Arrays.toString(shape()) + (window != null ? " in a window" : "")
                + (isClosed() ? " (closed)" : "");
    }
}
