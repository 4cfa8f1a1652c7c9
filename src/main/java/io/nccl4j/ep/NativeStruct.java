package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.internal.StateChanges;
import io.nccl4j.nccl.Window;
import java.lang.foreign.Arena;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A struct of tensors that is passed by pointer. Written once, in memory that lives as long as the first tensor's, and useless
 * as soon as the memory of any of its tensors is closed: then its address is gone, and using it is refused. There is one for the same
 * tensors, so that a program may ask for it in each step.
 */
abstract sealed class NativeStruct permits DispatchInputs, DispatchOutputs, CombineInputs, CombineOutputs, LayoutInfo {
    /** Size and magic come first in every struct. */
    private static final int MAGIC_OFFSET = 4;

    private final @Nullable EpTensor[] fields;
    private final int variant;
    private final EpTensor[] tensors;
    private final Window[] windows;
    private final MemorySegment struct;
    private long address;
    private final Repeaters repeaters = new Repeaters();

    /**
     * @param layout of the newest version of the struct
     * @param size of the version that is passed, for the {@code size} field
     * @param variant what else it says, if it is not only its tensors that tell it from others of its class
     * @param fields the tensors that it points to, null where it does not
     */
    NativeStruct(MemoryLayout layout, int size, int variant, @Nullable EpTensor... fields) {
        this.fields = fields;
        this.variant = variant;
        List<EpTensor> present = new ArrayList<>();
        List<Window> inWindows = new ArrayList<>();
        for (EpTensor tensor : fields) {
            if (tensor != null && !present.contains(tensor)) {
                tensor.descriptor();
                present.add(tensor);
                Window window = tensor.window();
                if (window != null && !inWindows.contains(window)) {
                    inWindows.add(window);
                }
            }
        }
        this.tensors = present.toArray(EpTensor[]::new);
        this.windows = inWindows.toArray(Window[]::new);
        // Without a tensor it is kept alive by the calls that it was checked for.
        this.struct = (present.isEmpty() ? Arena.ofAuto() : this.tensors[0].memory().descriptors()).allocate(layout);
        struct.set(ValueLayout.JAVA_INT, 0, size);
        struct.set(ValueLayout.JAVA_INT, MAGIC_OFFSET, NcclEp.NCCL_EP_MAGIC());
        this.address = struct.address();
        for (EpTensor tensor : this.tensors) {
            tensor.memory().whenClosed(this::invalidate);
            tensor.addUse(this);
        }
    }

    /** The one that there is for these tensors; null if there is none. */
    static <S extends NativeStruct> @Nullable S find(Class<S> type, int variant, @Nullable EpTensor... fields) {
        for (EpTensor tensor : fields) {
            if (tensor != null) {
                for (NativeStruct use : tensor.uses()) {
                    if (use.getClass() == type && use.variant == variant && Arrays.equals(use.fields, fields)
                            && !use.isClosed()) {
                        return type.cast(use);
                    }
                }
                return null;
            }
        }
        return null;
    }

    private void invalidate() {
        address = 0;
    }

    /** The memory to write the fields into. */
    final MemorySegment struct() {
        return struct;
    }

    static MemorySegment pointer(@Nullable EpTensor tensor) {
        return tensor == null ? MemorySegment.NULL : MemorySegment.ofAddress(tensor.descriptor());
    }

    /** @throws IllegalStateException if the memory or window of one of the tensors is closed */
    final long address() {
        long value = address;
        if (value == 0 || windows.length != 0 && windowClosed()) {
            throw closed();
        }
        return value;
    }

    private boolean windowClosed() {
        for (Window window : windows) {
            if (window.isClosed()) {
                return true;
            }
        }
        return false;
    }

    final boolean isClosed() {
        return address == 0 || windowClosed();
    }

    private IllegalStateException closed() {
        return new IllegalStateException(this + " cannot be used: memory or a window of it is closed");
    }

    /** The tensors in it, each once. */
    final EpTensor[] tensors() {
        return tensors;
    }

    /** Rows of a tensor have changed. Of structs with a row per token they are looked at in every call; of others that is rare. */
    final void rowsChanged() {
        repeaters.forgetCalls();
        if (!(this instanceof DispatchInputs || this instanceof CombineOutputs)) {
            StateChanges.add();
        }
    }

    /** Who is to look again when rows change. */
    final Repeaters repeaters() {
        return repeaters;
    }

    /** Whether every tensor has so many rows. */
    final boolean hasRows(long rows) {
        for (EpTensor tensor : tensors) {
            if (tensor.rows() != rows) {
                return false;
            }
        }
        return true;
    }

    /** A graph under construction keeps what the tensors lie in. */
    final void retain(CudaStream stream) {
        for (EpTensor tensor : tensors) {
            stream.retain(tensor.resource());
        }
    }

    @Override
    public String toString() {
        return getClass().getSimpleName() + Arrays.toString(tensors) + (isClosed() ? " (closed)" : "");
    }
}
