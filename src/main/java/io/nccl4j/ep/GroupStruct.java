package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpAllocConfig_t;
import io.nccl4j.bindings.ncclep.ncclEpGroupConfig_t;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/** Writes {@code ncclEpGroupConfig_t}. */
final class GroupStruct {
    private GroupStruct() {
    }

    static MemorySegment encode(EpGroupConfig c, EpSizing sizing, @Nullable AllocatorHooks hooks, Arena arena) {
        MemorySegment struct = arena.allocate(ncclEpGroupConfig_t.layout());
        ncclEpGroupConfig_t.size(struct, NcclEp.NCCL_EP_GROUP_CONFIG_V2_SIZE());
        ncclEpGroupConfig_t.magic(struct, NcclEp.NCCL_EP_MAGIC());
        ncclEpGroupConfig_t.version(struct, NcclEp.NCCL_EP_API_VERSION());
        ncclEpGroupConfig_t.algorithm(struct, c.algorithm().code());
        ncclEpGroupConfig_t.num_experts(struct, c.experts());
        ncclEpGroupConfig_t.max_dispatch_tokens_per_rank(struct, c.maxTokensPerRank());
        ncclEpGroupConfig_t.max_token_bytes(struct, c.maxTokenBytes());
        // 0 means eager; a low-latency group has no use for it.
        boolean budget = c.algorithm() == Algorithm.HIGH_THROUGHPUT && !c.isEager();
        ncclEpGroupConfig_t.max_recv_tokens_per_rank(struct, budget ? (int) sizing.receiveRows() : 0);
        ncclEpGroupConfig_t.rdma_buffer_size(struct, RdmaBuffer.explicitBytes(c, sizing));
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
