package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpHandleConfig_t;
import io.nccl4j.cuda.DeviceMemory;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import org.jspecify.annotations.Nullable;

/**
 * How a handle is made, {@code ncclEpHandleConfig_t} and the {@code handle_mem} argument. Immutable; each method
 * returns a changed one.
 */
public final class HandleConfig {
    private static final HandleConfig DEFAULTS = new HandleConfig(0, null);

    private final int alignment;
    private final @Nullable DeviceMemory memory;

    private HandleConfig(int alignment, @Nullable DeviceMemory memory) {
        this.alignment = alignment;
        this.memory = memory;
    }

    /** {@return the group's default alignment, memory from the group's allocator} */
    public static HandleConfig defaults() {
        return DEFAULTS;
    }

    /**
     * High throughput, EXPERT_MAJOR: every expert's zone is padded to a multiple of so many rows ({@code
     * dispatch_output_per_expert_alignment}). A power of two.
     *
     * @param rows rows, at least 1
     * @return the changed configuration
     */
    public HandleConfig alignment(int rows) {
        return new HandleConfig(rows, memory);
    }

    /**
     * The handle's state lies in this memory of the caller's, which stays the caller's and cannot be closed before the
     * handle. At least {@link EpGroup#handleMemoryBytes} bytes, at a multiple of 256. One handle at a time.
     *
     * @param block the memory, which stays open as long as the handle
     * @return the changed configuration
     */
    public HandleConfig memory(DeviceMemory block) {
        return new HandleConfig(alignment, block);
    }

    /** {@return rows that zones are padded to a multiple of; 0 if not set} */
    public int alignment() {
        return alignment;
    }

    /** {@return the caller's memory, if it is that} */
    public @Nullable DeviceMemory memory() {
        return memory;
    }

    /** The struct for one call; the group's default alignment is filled in. */
    static MemorySegment encode(int alignment, SegmentAllocator allocator) {
        MemorySegment struct = allocator.allocate(ncclEpHandleConfig_t.layout());
        ncclEpHandleConfig_t.size(struct, NcclEp.NCCL_EP_HANDLE_CONFIG_V1_SIZE());
        ncclEpHandleConfig_t.magic(struct, NcclEp.NCCL_EP_MAGIC());
        ncclEpHandleConfig_t.dispatch_output_per_expert_alignment(struct, alignment);
        return struct;
    }

    @Override
    public String toString() {
        return "HandleConfig(alignment " + alignment + (memory == null ? "" : ", " + memory) + ")";
    }
}
