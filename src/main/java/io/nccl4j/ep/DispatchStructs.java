package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.ncclEpDispatchInputs_t;
import io.nccl4j.bindings.ncclep.ncclEpDispatchOutputs_t;
import io.nccl4j.bindings.ncclep.ncclEpLayoutInfo_t;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * Copies of the structs of a dispatch that is repeated, side by side: the call reads one address instead of three, which is measurable.
 * (Combine has two, and gains nothing.) They cannot become stale, since a struct is written once; what changes are the tensors it points to.
 */
final class DispatchStructs {
    private static final long ALIGNMENT = 16;
    static final long INPUTS = 0;
    static final long OUTPUTS = after(INPUTS, ncclEpDispatchInputs_t.sizeof());
    static final long INFO = after(OUTPUTS, ncclEpDispatchOutputs_t.sizeof());
    private static final long END = after(INFO, ncclEpLayoutInfo_t.sizeof());

    private final MemorySegment block = Arena.ofAuto().allocate(END, ALIGNMENT);

    private static long after(long offset, long size) {
        return (offset + size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }

    /** Where the offsets count from, for as long as this is reachable. */
    long address() {
        return block.address();
    }

    void copy(DispatchInputs inputs, DispatchOutputs outputs, @Nullable LayoutInfo info) {
        copy(inputs, INPUTS);
        copy(outputs, OUTPUTS);
        if (info != null) {
            copy(info, INFO);
        }
    }

    private void copy(NativeStruct from, long offset) {
        MemorySegment struct = from.struct();
        MemorySegment.copy(struct, 0, block, offset, struct.byteSize());
    }
}
