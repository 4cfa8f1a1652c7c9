package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;

/** How received tokens lie in the output of dispatch, {@code ncclEpLayout_t}. */
public enum Layout {
    /**
     * A zone per local expert; a token is there once for each of its experts. LL: {@code [localExperts, ranks *
     * maxTokensPerRank, hidden]}; HT: {@code [rows, hidden]}, zones one after the other.
     */
    EXPERT_MAJOR(NcclEp.NCCL_EP_LAYOUT_EXPERT_MAJOR()),
    /** A region per source rank; a token is there once: {@code [ranks, maxTokensPerRank, hidden]}. Low latency only. */
    RANK_MAJOR(NcclEp.NCCL_EP_LAYOUT_RANK_MAJOR()),
    /** One row after the other, a token is there once: {@code [rows, hidden]}. High throughput only. */
    FLAT(NcclEp.NCCL_EP_LAYOUT_FLAT());

    private final int code;

    Layout(int code) {
        this.code = code;
    }

    int code() {
        return code;
    }
}
