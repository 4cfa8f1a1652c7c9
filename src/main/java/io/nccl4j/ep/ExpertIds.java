package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;

/** How experts are numbered in the received {@code topk_idx}, {@code ncclEpExpertIdKind_t}. */
public enum ExpertIds {
    /** The library's default, which is {@link #LOCAL}. */
    AUTO(NcclEp.NCCL_EP_EXPERT_ID_AUTO()),
    /** From 0 on every rank. */
    LOCAL(NcclEp.NCCL_EP_EXPERT_ID_LOCAL()),
    /** As in the routing. */
    GLOBAL(NcclEp.NCCL_EP_EXPERT_ID_GLOBAL());

    private final int code;

    ExpertIds(int code) {
        this.code = code;
    }

    int code() {
        return code;
    }
}
