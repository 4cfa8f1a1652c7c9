package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.NativeObject;
import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.internal.Ownership;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * The memory in which the handles of a group keep their state. What the library would allocate itself, ending the
 * process if it cannot, is allocated here, so that a full device is an exception.
 */
final class HandleMemory<H extends NativeObject> {
    private final NativeObject group;
    private final Communicator communicator;
    private final @Nullable AllocatorHooks hooks;
    /** Whether the allocator is a native one, which only the library calls. */
    private final boolean foreign;
    private final List<H> handles;
    private final Function<H, @Nullable DeviceMemory> memoryOf;

    /**
     * @param hooks of the allocator, if there is one
     * @param handles that live
     * @param memoryOf a handle
     */
    HandleMemory(NativeObject group, Communicator communicator, EpGroupConfig config, @Nullable AllocatorHooks hooks,
            List<H> handles, Function<H, @Nullable DeviceMemory> memoryOf) {
        this.group = group;
        this.communicator = communicator;
        this.hooks = hooks;
        this.foreign = config.allocateFunction() != 0;
        this.handles = handles;
        this.memoryOf = memoryOf;
    }

    /** Bytes that a handle takes, {@code ncclEpHandleMemSize}. */
    long bytes(HandleShape shape) {
        try (Arena confined = Arena.ofConfined()) {
            MemorySegment out = confined.allocate(JAVA_LONG);
            communicator.check("ncclEpHandleMemSize",
                    NcclEp.ncclEpHandleMemSize(MemorySegment.ofAddress(group.address()), shape.layout().code(),
                            HandleConfig.encode(0, confined), out, shape.topK()));
            return out.get(JAVA_LONG, 0);
        }
    }

    /**
     * A handle with memory that belongs to it.
     *
     * @param create makes the handle in this memory; null if the library has to ask the group's allocator itself
     */
    H own(HandleShape shape, Function<@Nullable DeviceMemory, H> create) {
        if (foreign) {
            return create.apply(null);
        }
        long bytes = bytes(shape);
        DeviceMemory memory = hooks == null
                ? DeviceMemory.allocate(communicator.device(), bytes)
                : hooks.allocate(communicator.device(), bytes);
        try {
            H handle = create.apply(memory);
            Ownership.of(handle).owns(List.of(memory));
            return handle;
        } catch (RuntimeException | Error e) {
            if (communicator.lost() != null) {
                // A call that was given up may still come to use it.
                memory.abandon();
            }
            memory.close();
            throw e;
        }
    }

    /**
     * Before a C function that allocates the memory itself: no more than to look is possible. Collective where that
     * function is.
     */
    void checkRoom(HandleShape shape) {
        if (foreign) {
            return;
        }
        MemoryRequest request = MemoryRequest.of(communicator, bytes(shape), 0, describe(shape));
        if (shape.isLowLatency()) {
            request.check("EpGroup.createHandle", communicator.rank());
        } else {
            request.checkOnAllRanks(communicator, "EpGroup.createHandle", communicator.limit());
        }
    }

    /** For comparison with what other ranks make. */
    static String describe(HandleShape shape) {
        return "a handle of " + shape.layout() + " with topK " + shape.topK() + ", alignment " + shape.alignment();
    }

    /** Memory that the caller has given. */
    void check(DeviceMemory memory, HandleShape shape) {
        TensorShape block = block(memory);
        HandleRules.checkMemory(block, bytes(shape));
        for (H other : handles) {
            DeviceMemory used = memoryOf.apply(other);
            if (used != null) {
                HandleRules.checkApart(block, block(used), other.toString());
            }
        }
    }

    private static TensorShape block(DeviceMemory memory) {
        return new TensorShape(DataType.UINT8, memory.address(), false, memory.byteSize());
    }
}
