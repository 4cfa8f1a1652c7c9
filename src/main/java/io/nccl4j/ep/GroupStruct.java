package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpAllocConfig_t;
import io.nccl4j.bindings.ncclep.ncclEpGroupConfig_t;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/** Writes {@code ncclEpGroupConfig_t}. */
final class GroupStruct {
    /** The fields that release 0.2.0 appends: {@code dispatch_num_sms} and {@code combine_num_sms}. */
    private static final long DISPATCH_SMS = NcclEp.NCCL_EP_GROUP_CONFIG_V2_SIZE();
    private static final long COMBINE_SMS = DISPATCH_SMS + Integer.BYTES;
    private static final long LONGER_SIZE = COMBINE_SMS + Integer.BYTES;

    private GroupStruct() {
    }

    static MemorySegment encode(GroupShape group, @Nullable AllocatorHooks hooks, Arena arena) {
        EpGroupConfig c = group.config();
        MemorySegment struct = arena.allocate(LONGER_SIZE, ncclEpGroupConfig_t.layout().byteAlignment());
        // The rules have refused these where the library does not have them.
        boolean longer = c.dispatchSms() != 0 || c.combineSms() != 0;
        struct.set(JAVA_INT, DISPATCH_SMS, c.dispatchSms());
        struct.set(JAVA_INT, COMBINE_SMS, c.combineSms());
        ncclEpGroupConfig_t.size(struct, longer ? (int) LONGER_SIZE : NcclEp.NCCL_EP_GROUP_CONFIG_V2_SIZE());
        ncclEpGroupConfig_t.magic(struct, NcclEp.NCCL_EP_MAGIC());
        ncclEpGroupConfig_t.version(struct, NcclEp.NCCL_EP_API_VERSION());
        ncclEpGroupConfig_t.algorithm(struct, c.algorithm().code());
        ncclEpGroupConfig_t.num_experts(struct, c.experts());
        ncclEpGroupConfig_t.max_dispatch_tokens_per_rank(struct, c.maxTokensPerRank());
        ncclEpGroupConfig_t.max_token_bytes(struct, c.maxTokenBytes());
        // 0 means eager; a low-latency group has no use for it.
        boolean budget = !group.isLowLatency() && !c.isEager();
        ncclEpGroupConfig_t.max_recv_tokens_per_rank(struct, budget ? (int) group.receiveRows() : 0);
        ncclEpGroupConfig_t.rdma_buffer_size(struct, RdmaBuffer.explicitBytes(group));
        ncclEpGroupConfig_t.num_qp_per_rank(struct, c.queuePairs());
        ncclEpGroupConfig_t.num_channels(struct, c.channels());
        ncclEpGroupConfig_t.max_num_sms(struct, c.maxSms());
        ncclEpGroupConfig_t.enable_mask(struct, c.hasMask() ? 1 : 0);
        Duration timeout = c.timeout();
        ncclEpGroupConfig_t.timeout_ns(struct, timeout == null ? 0 : timeout.toNanos());
        MemorySegment alloc = ncclEpGroupConfig_t.alloc(struct);
        if (hooks != null) {
            hooks.encode(alloc, arena);
        } else {
            ncclEpAllocConfig_t.alloc_fn(alloc, MemorySegment.ofAddress(c.allocateFunction()));
            ncclEpAllocConfig_t.free_fn(alloc, MemorySegment.ofAddress(c.freeFunction()));
            ncclEpAllocConfig_t.context(alloc, MemorySegment.ofAddress(c.allocatorContext()));
        }
        ncclEpGroupConfig_t.zero_copy(struct, c.zeroCopy().code());
        ncclEpGroupConfig_t.overflow_policy(struct, c.overflow().code());
        ncclEpGroupConfig_t.num_topk(struct, c.isEager() ? c.topK() : 0);
        return struct;
    }
}
