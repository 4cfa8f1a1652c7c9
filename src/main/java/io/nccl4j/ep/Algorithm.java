package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;

/** The batches that a group is tuned for, {@code ncclEpAlgorithm_t}. */
public enum Algorithm {
    /** LL: decode-sized batches, lowest latency. Layouts {@link Layout#EXPERT_MAJOR} and {@link Layout#RANK_MAJOR}. */
    LOW_LATENCY(NcclEp.NCCL_EP_ALGO_LOW_LATENCY()),
    /**
     * HT: prefill and training batches, highest bandwidth. Layouts {@link Layout#FLAT} and {@link Layout#EXPERT_MAJOR}.
     */
    HIGH_THROUGHPUT(NcclEp.NCCL_EP_ALGO_HIGH_THROUGHPUT());

    private final int code;

    Algorithm(int code) {
        this.code = code;
    }

    int code() {
        return code;
    }

    /** Whether handles of this algorithm may have the layout. */
    boolean has(Layout layout) {
        return layout == Layout.EXPERT_MAJOR || layout == (this == LOW_LATENCY ? Layout.RANK_MAJOR : Layout.FLAT);
    }
}
