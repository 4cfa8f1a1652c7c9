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
import io.nccl4j.internal.Out;
import io.nccl4j.internal.Ownership;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The mask calls of a low-latency group, and the little memory that they go through. */
final class GroupMask {
    private final NativeObject group;
    private final Communicator communicator;
    private final boolean exists;
    private final GroupState state;
    private final RdmaBuffer rdmaBuffer;
    private @Nullable Staging staging;

    /** @param exists whether the group was created with masks */
    GroupMask(NativeObject group, Communicator communicator, boolean exists, GroupState state, RdmaBuffer rdmaBuffer) {
        this.group = group;
        this.communicator = communicator;
        this.exists = exists;
        this.state = state;
        this.rdmaBuffer = rdmaBuffer;
    }

    /** Memory on both sides, and when the host's part may be written again. */
    private record Staging(DeviceMemory device, PinnedMemory query, PinnedMemory update, CudaEvent updated) {
        /** All of it, or nothing is left. */
        static Staging allocate(CudaDevice device, long bytes) {
            List<NativeObject> made = new ArrayList<>();
            try {
                DeviceMemory memory = DeviceMemory.allocate(device, bytes);
                made.add(memory);
                PinnedMemory query = PinnedMemory.allocate(device, bytes);
                made.add(query);
                PinnedMemory update = PinnedMemory.allocate(device, bytes);
                made.add(update);
                return new Staging(memory, query, update, CudaEvent.create(device));
            } catch (RuntimeException | Error e) {
                Ownership.closeAll(made.reversed());
                throw e;
            }
        }
    }

    private MemorySegment segment() {
        return MemorySegment.ofAddress(group.address());
    }

    void checkExists(String call) {
        Rule.MASK.refuseIf(!exists,
                "%s needs a low-latency group whose configuration has mask(): a high-throughput group waits for all "
                        + "ranks",
                call);
    }

    boolean asyncError() {
        checkExists("asyncError");
        return Out.ofInt(
                out -> communicator.check("ncclEpGetAsyncError", NcclEp.ncclEpGetAsyncError(segment(), out))) != 0;
    }

    void errorClear() {
        checkExists("errorClear");
        communicator.check("ncclEpErrorClear", NcclEp.ncclEpErrorClear(segment()));
    }

    void query(EpTensor target, CudaStream stream) {
        checkExists("maskQuery");
        int ranks = communicator.size();
        TensorShape facts = target.facts();
        Rule.MASK_RANKS.refuseIf(!facts.has(DataType.INT32, ranks), "the mask is %s: must be INT32 [%d]", target,
                ranks);
        RowRules.checkAddress("the mask", facts);
        stream.retain(group);
        stream.retain(target.holder());
        query(target.address(), stream);
    }

    private void query(long target, CudaStream stream) {
        communicator.check("ncclEpMaskQuery", NcclEp.ncclEpMaskQuery(segment(), MemorySegment.ofAddress(target),
                MemorySegment.ofAddress(stream.address())));
    }

    RankMask query(CudaStream stream) {
        checkExists("maskQuery");
        CaptureScope.refuse("EpGroup.maskQuery", "query into a tensor");
        Staging memory = staging();
        query(memory.device.address(), stream);
        memory.query.segment();
        memory.device.copyToAsync(memory.query, memory.query.byteSize(), stream);
        stream.awaitUninterruptibly(communicator.limit());
        return RankMask.decode(memory.query.segment(), communicator.size());
    }

    void update(RankMask value, CudaStream stream) {
        checkExists("maskUpdate");
        CaptureScope.refuse("EpGroup.maskUpdate",
                "the host's mask would be read at every replay; update before the launch");
        int ranks = communicator.size();
        Rule.MASK_RANKS.refuseIf(value.size() != ranks, "%s: the group has %d ranks", value, ranks);
        Staging memory = staging();
        // The copy before may still have to read it.
        memory.updated.synchronize();
        value.encode(memory.update.segment());
        int status = NcclEp.ncclEpMaskUpdate(segment(), MemorySegment.ofAddress(memory.update.address()),
                MemorySegment.ofAddress(stream.address()));
        memory.updated.record(stream);
        communicator.check("ncclEpMaskUpdate", status);
    }

    void clean(CudaStream stream) {
        checkExists("maskClean");
        CaptureScope.refuse("EpGroup.maskClean", "it waits for the other ranks; clean between launches");
        Rule.MASK_BUFFER.refuseIf(!rdmaBuffer.exists(),
                "maskClean before the first handle: there is no RDMA buffer yet");
        Rule.SEND_PENDING.refuseIf(state.isPending(),
                "maskClean while a send half is pending (%s): it would clear the signals that the other half waits "
                        + "for; complete it first",
                state);
        MemorySegment self = segment();
        MemorySegment queue = MemorySegment.ofAddress(stream.address());
        communicator.callAmongSurvivors("ncclEpMaskClean", communicator.limit(), () -> {
            communicator.check("ncclEpMaskClean", NcclEp.ncclEpMaskClean(self, queue));
            return self;
        });
    }

    private Staging staging() {
        Staging memory = staging;
        if (memory == null) {
            memory = Staging.allocate(communicator.device(), JAVA_INT.byteSize() * communicator.size());
            staging = memory;
        }
        return memory;
    }

    void close() {
        Staging memory = staging;
        if (memory != null) {
            Ownership.closeAll(List.of(memory.device, memory.query, memory.update, memory.updated));
        }
    }
}
