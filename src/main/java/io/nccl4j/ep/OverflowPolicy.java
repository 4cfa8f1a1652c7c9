package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;

/** The treatment of rows beyond the receive budget of a high-throughput group, {@code ncclEpOverflowPolicy_t}. */
public enum OverflowPolicy {
    /** The library's default, which is {@link #TRAP}. */
    AUTO(NcclEp.NCCL_EP_OVERFLOW_AUTO()),
    /** The device traps: the CUDA context is lost. */
    TRAP(NcclEp.NCCL_EP_OVERFLOW_TRAP()),
    /** Rows beyond the budget are left out; a token that lost all of its destinations combines to zeros. */
    DROP(NcclEp.NCCL_EP_OVERFLOW_DROP());

    private final int code;

    OverflowPolicy(int code) {
        this.code = code;
    }

    int code() {
        return code;
    }
}
