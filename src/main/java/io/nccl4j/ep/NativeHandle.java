package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.ADDRESS;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.LifecycleEvent;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.NcclException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** How a handle comes to be and ends: {@code ncclEpInitHandle}, {@code ncclEpCreateHandle}, {@code ncclEpHandleDestroy}. */
final class NativeHandle {
    private static final Logger LOG = LoggerFactory.getLogger(EpHandle.class);

    private NativeHandle() {
    }

    static EpHandle create(EpGroup group, HandleShape shape, HandleConfig config) {
        DeviceMemory memory = config.memory();
        if (memory != null) {
            group.checkDevice(memory, memory.device());
            HandleRules.checkMemory(memory, group.handleMemoryBytes(shape.layout(), shape.topK()));
            for (EpHandle other : group.handles()) {
                HandleRules.checkApart(memory, other.memory(), other);
            }
        }
        EpTensor block = memory == null ? null : EpTensor.of(memory, DataType.UINT8, memory.byteSize());
        boolean grows = group.rdmaBuffer().mustGrow(shape);
        Rule.SEND_PENDING.require(!grows || !group.send().isPending(),
                "a handle for which the RDMA buffer must grow while a send half is pending (%s): complete it first",
                group.send());
        long address = grows
                ? group.communicator().callCollectively("ncclEpInitHandle", group.communicator().limit(),
                        () -> init(group, shape, block))
                : init(group, shape, block);
        if (grows) {
            group.rdmaBuffer().grew(shape);
        }
        return created(group, address, shape, memory);
    }

    private static long init(EpGroup group, HandleShape shape, @Nullable EpTensor block) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ADDRESS);
            int status = NcclEp.ncclEpInitHandle(out, group.segment(), shape.layout().code(),
                    HandleConfig.encode(shape.alignment(), arena), shape.topK(), NativeStruct.pointer(block));
            return checkCreated("ncclEpInitHandle", status, group, out);
        }
    }

    static EpHandle createUpdated(EpGroup group, HandleShape shape, EpTensor topkIdx, @Nullable LayoutInfo info,
            CudaStream stream) {
        group.enter(stream);
        CallRules.checkUpdate(group, shape, topkIdx, info);
        if (group.rdmaBuffer().mustGrow(shape)) {
            return createAndUpdate(group, shape, topkIdx, info, stream);
        }
        long address;
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ADDRESS);
            int status = NcclEp.ncclEpCreateHandle(out, group.segment(), shape.layout().code(),
                    MemorySegment.ofAddress(topkIdx.descriptor()),
                    info == null ? MemorySegment.NULL : MemorySegment.ofAddress(info.address()),
                    HandleConfig.encode(shape.alignment(), arena), MemorySegment.ofAddress(stream.address()));
            address = checkCreated("ncclEpCreateHandle", status, group, out);
        }
        EpHandle handle = created(group, address, shape, null);
        handle.routing().updated(topkIdx, stream);
        return handle;
    }

    /** What the C function does, but the collective part of the first has its limit. */
    private static EpHandle createAndUpdate(EpGroup group, HandleShape shape, EpTensor topkIdx,
            @Nullable LayoutInfo info,
            CudaStream stream) {
        EpHandle handle = create(group, shape, HandleConfig.defaults());
        boolean done = false;
        try {
            handle.update(topkIdx, info, stream);
            done = true;
            return handle;
        } finally {
            if (!done) {
                handle.close();
            }
        }
    }

    /** The library hands out a half-made handle with an error; destroying that is safe. */
    private static long checkCreated(String function, int status, EpGroup group, MemorySegment out) {
        MemorySegment handle = out.get(ADDRESS, 0);
        if (status != 0) {
            NcclException e = group.failed(function, status);
            if (handle.address() != 0 && group.communicator().lost() == null) {
                NcclEp.ncclEpHandleDestroy(handle);
            }
            throw e;
        }
        return handle.address();
    }

    private static EpHandle created(EpGroup group, long address, HandleShape shape, @Nullable DeviceMemory memory) {
        EpHandle handle = new EpHandle(group, address, shape, memory);
        if (group.hasAllocatorFailed()) {
            // Closing throws what the allocator threw.
            handle.close();
        }
        LifecycleEvent.emit("create", handle.toString());
        LOG.debug("{} created", handle);
        return handle;
    }

    /** Destroys it, or abandons it if that must not be done any more. */
    static void destroy(EpHandle handle, String label, long released, Deadline deadline) {
        EpGroup group = handle.group();
        DeviceMemory memory = handle.memory();
        String reason = group.communicator().lost();
        if (reason == null && !group.device().awaitEnqueued(deadline.remaining())) {
            reason = "work that may use it is still pending after " + deadline + ", or has failed";
        }
        LifecycleEvent.emit("close", label);
        if (reason != null) {
            LOG.error("{} is abandoned, its native memory is not released: {}", label, reason);
            if (memory != null) {
                memory.abandon();
            }
            return;
        }
        int status = NcclEp.ncclEpHandleDestroy(MemorySegment.ofAddress(released));
        if (status != 0) {
            throw group.failed("ncclEpHandleDestroy", status);
        }
        group.rethrowAllocatorFailure();
    }
}
