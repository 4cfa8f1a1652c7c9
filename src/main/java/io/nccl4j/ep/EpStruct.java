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

    /**
     * It has passed the rules for handles of {@code shape}, together with the rest.
     *
     * @param tokens of the last update
     * @param changes of the device before the arguments were checked
     * @param perToken tensors with a row for each token of the last update
     * @param fixed all other tensors, struct by struct
     */
    final void checked(HandleShape shape, @Nullable Object second, @Nullable Object third, @Nullable Object fourth,
            long tokens, int changes, EpTensor[] perToken, EpTensor[]... fixed) {
        checked = new CheckedArguments(shape, second, third, fourth, tokens, changes, perToken, fixed);
    }

    @Override
    public String toString() {
        return getClass().getSimpleName() + Arrays.toString(tensors) + (isClosed() ? " (closed)" : "");
    }

    /**
     * Arguments that have passed the rules of a call together, for handles of one shape. Types, widths and addresses of
     * tensors never change; so a later call compares identities, and the rows of the tensors when something has
     * changed.
     */
    private static final class CheckedArguments {
        private final HandleShape shape;
        private final @Nullable Object second;
        private final @Nullable Object third;
        private final @Nullable Object fourth;
        private final EpTensor[] perToken;
        private final EpTensor[][] fixed;
        private final long[] fixedRows;
        private long tokens;
        private int changes;

        CheckedArguments(HandleShape shape, @Nullable Object second, @Nullable Object third, @Nullable Object fourth,
                long tokens, int changes, EpTensor[] perToken, EpTensor[]... fixed) {
            this.shape = shape;
            this.second = second;
            this.third = third;
            this.fourth = fourth;
            this.tokens = tokens;
            this.changes = changes;
            this.perToken = perToken;
            this.fixed = fixed;
            int count = 0;
            for (EpTensor[] tensors : fixed) {
                count += tensors.length;
            }
            this.fixedRows = new long[count];
            int next = 0;
            for (EpTensor[] tensors : fixed) {
                for (EpTensor tensor : tensors) {
                    fixedRows[next++] = tensor.rows();
                }
            }
        }

        /**
         * Whether the same was given again, and nothing is against it now.
         *
         * @param t tokens of the last update
         * @param now changes of the device so far
         */
        boolean hold(HandleShape asked, @Nullable Object b, @Nullable Object c, @Nullable Object d, long t, int now) {
            return shape == asked && second == b && third == c && fourth == d
                    && (tokens == t && changes == now || stillHold(t, now));
        }

        private boolean stillHold(long t, int now) {
            for (EpTensor tensor : perToken) {
                if (tensor.rows() != t || tensor.isClosed()) {
                    return false;
                }
            }
            int next = 0;
            for (EpTensor[] tensors : fixed) {
                for (EpTensor tensor : tensors) {
                    if (tensor.rows() != fixedRows[next++] || tensor.isClosed()) {
                        return false;
                    }
                }
            }
            tokens = t;
            changes = now;
            return true;
        }
    }
}
