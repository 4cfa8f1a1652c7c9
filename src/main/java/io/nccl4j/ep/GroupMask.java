package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.NativeObject;
import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaEvent;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Ownership;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The mask calls of a low-latency group, and the little memory that they go through. */
final class GroupMask {
    private final EpGroup group;
    private @Nullable Staging staging;

    GroupMask(EpGroup group) {
        this.group = group;
    }

    /** Memory on both sides, and when the host's part may be written again. */
    private record Staging(DeviceMemory device, PinnedMemory query, PinnedMemory update, CudaEvent updated) {
        /** All of it, or nothing is left. */
        static Staging allocate(CudaDevice device, long bytes) {
            List<NativeObject> made = new ArrayList<>();
            boolean done = false;
            try {
                DeviceMemory memory = DeviceMemory.allocate(device, bytes);
                made.add(memory);
                PinnedMemory query = PinnedMemory.allocate(device, bytes);
                made.add(query);
                PinnedMemory update = PinnedMemory.allocate(device, bytes);
                made.add(update);
                Staging staging = new Staging(memory, query, update, CudaEvent.create(device));
                done = true;
                return staging;
            } finally {
                if (!done) {
                    Ownership.closeAll(made.reversed());
                }
            }
        }
    }

    void checkExists(String call) {
        Rule.MASK.require(group.config().hasMask(),
                "%s needs a low-latency group whose configuration has mask(): a high-throughput group waits for all ranks",
                call);
    }

    void query(EpTensor target, CudaStream stream) {
        checkExists("maskQuery");
        int ranks = group.communicator().size();
        Rule.MASK_RANKS.require(target.has(DataType.INT32, ranks), "the mask is %s: must be INT32 [%d]", target, ranks);
        group.checkDevice(target, target.memory().device());
        stream.retain(group);
        stream.retain(target.resource());
        query(target.address(), stream);
    }

    private void query(long target, CudaStream stream) {
        int status = NcclEp.ncclEpMaskQuery(group.segment(), MemorySegment.ofAddress(target),
                MemorySegment.ofAddress(stream.address()));
        if (status != 0) {
            throw group.failed("ncclEpMaskQuery", status);
        }
    }

    RankMask query(CudaStream stream) {
        checkExists("maskQuery");
        CaptureScope.refuse("EpGroup.maskQuery", "query into a tensor");
        Staging memory = staging();
        query(memory.device.address(), stream);
        memory.query.segment();
        memory.device.copyToAsync(memory.query, memory.query.byteSize(), stream);
        stream.await(group.communicator().limit());
        return RankMask.decode(memory.query.segment(), group.communicator().size());
    }

    void update(RankMask value, CudaStream stream) {
        checkExists("maskUpdate");
        CaptureScope.refuse("EpGroup.maskUpdate",
                "the host's mask would be read at every replay; update before the launch");
        Communicator communicator = group.communicator();
        Rule.MASK_RANKS.require(value.size() == communicator.size(), "%s: the group has %d ranks", value,
                communicator.size());
        Staging memory = staging();
        // The copy before may still have to read it.
        memory.updated.synchronize();
        value.encode(memory.update.segment());
        int status = NcclEp.ncclEpMaskUpdate(group.segment(), MemorySegment.ofAddress(memory.update.address()),
                MemorySegment.ofAddress(stream.address()));
        memory.updated.record(stream);
        if (status != 0) {
            throw group.failed("ncclEpMaskUpdate", status);
        }
    }

    void clean(CudaStream stream) {
        checkExists("maskClean");
        CaptureScope.refuse("EpGroup.maskClean", "it waits for the other ranks; clean between launches");
        Rule.MASK_BUFFER.require(group.rdmaBuffer().exists(),
                "maskClean before the first handle: there is no RDMA buffer yet");
        Rule.SEND_PENDING.require(!group.send().isPending(),
                "maskClean while a send half is pending (%s): it would clear the signals that the other half waits for; complete it first",
                group.send());
        Communicator communicator = group.communicator();
        MemorySegment self = group.segment();
        MemorySegment queue = MemorySegment.ofAddress(stream.address());
        communicator.callCollectively("ncclEpMaskClean", communicator.limit(), () -> {
            int status = NcclEp.ncclEpMaskClean(self, queue);
            if (status != 0) {
                throw group.failed("ncclEpMaskClean", status);
            }
            return self;
        });
    }

    private Staging staging() {
        Staging memory = staging;
        if (memory == null) {
            memory = allocate(JAVA_INT.byteSize() * group.communicator().size());
            staging = memory;
        }
        return memory;
    }

    /** All of it or nothing. */
    private Staging allocate(long bytes) {
        List<NativeObject> made = new ArrayList<>();
        boolean done = false;
        try {
            DeviceMemory device = DeviceMemory.allocate(group.device(), bytes);
            made.add(device);
            PinnedMemory query = PinnedMemory.allocate(group.device(), bytes);
            made.add(query);
            PinnedMemory update = PinnedMemory.allocate(group.device(), bytes);
            made.add(update);
            Staging memory = new Staging(device, query, update, CudaEvent.create(group.device()));
            done = true;
            return memory;
        } finally {
            if (!done) {
                Ownership.closeAll(made);
            }
        }
    }

    void close() {
        Staging memory = staging;
        if (memory != null) {
            Ownership.closeAll(List.of(memory.device, memory.query, memory.update, memory.updated));
        }
    }
}
