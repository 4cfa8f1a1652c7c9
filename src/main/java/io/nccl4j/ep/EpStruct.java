package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;
import java.lang.foreign.Arena;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A struct of tensors that is passed by pointer. Written once; its memory is freed when it is collected. Using it is
 * refused when the memory of one of its tensors is closed.
 */
abstract class EpStruct {
    /** Size and magic come first in every struct. */
    private static final int MAGIC_OFFSET = 4;

    private final EpTensor[] tensors;
    private final MemorySegment struct;
    private final long address;
    /** By whom it was checked last, and with what; replaced as a whole, so that threads cannot see half of it. */
    private @Nullable CheckedArguments checked;

    /**
     * @param layout of the newest version of the struct
     * @param size of the version that is passed, for the {@code size} field
     * @param fields the tensors that it points to, null where it does not
     */
    EpStruct(MemoryLayout layout, int size, @Nullable EpTensor... fields) {
        List<EpTensor> present = new ArrayList<>();
        for (EpTensor tensor : fields) {
            if (tensor != null && !present.contains(tensor)) {
                tensor.descriptor();
                present.add(tensor);
            }
        }
        this.tensors = present.toArray(EpTensor[]::new);
        this.struct = Arena.ofAuto().allocate(layout);
        struct.set(ValueLayout.JAVA_INT, 0, size);
        struct.set(ValueLayout.JAVA_INT, MAGIC_OFFSET, NcclEp.NCCL_EP_MAGIC());
        this.address = struct.address();
    }

    /** The memory to write the fields into. */
    final MemorySegment struct() {
        return struct;
    }

    static MemorySegment pointer(@Nullable EpTensor tensor) {
        return tensor == null ? MemorySegment.NULL : MemorySegment.ofAddress(tensor.descriptor());
    }

    /** Its address, for as long as it is reachable. */
    final long address() {
        return address;
    }

    /** @throws IllegalStateException if the memory or window of one of the tensors is closed */
    final void checkOpen() {
        if (isClosed()) {
            throw new IllegalStateException(this + " cannot be used: memory or a window of it is closed");
        }
    }

    final boolean isClosed() {
        for (EpTensor tensor : tensors) {
            if (tensor.isClosed()) {
                return true;
            }
        }
        return false;
    }

    /** The tensors in it, each once. */
    final EpTensor[] tensors() {
        return tensors;
    }

    /** Whether it was checked last for handles of {@code shape}, together with the rest. */
    final boolean isChecked(HandleShape shape, @Nullable Object second, @Nullable Object third, @Nullable Object fourth,
            long tokens, int changes) {
        CheckedArguments last = checked;
        return last != null && last.hold(shape, second, third, fourth, tokens, changes);
    }

    final void checked(CheckedArguments arguments) {
        checked = arguments;
    }

    @Override
    public String toString() {
        return getClass().getSimpleName() + Arrays.toString(tensors) + (isClosed() ? " (closed)" : "");
    }
}
