package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;

/** Whether peers write and read the caller's windows directly, {@code ncclEpZeroCopyMode_t}. */
public enum ZeroCopy {
    /** The library's default, which is that of {@link #OFF}. */
    AUTO(NcclEp.NCCL_EP_ZERO_COPY_AUTO()),
    /** Tensors in windows are used directly where that is possible, others are staged. */
    OFF(NcclEp.NCCL_EP_ZERO_COPY_OFF()),
    /** Nothing is staged: a tensor that should be in a window and is not is an error. */
    ON(NcclEp.NCCL_EP_ZERO_COPY_ON());

    private final int code;

    ZeroCopy(int code) {
        this.code = code;
    }

    int code() {
        return code;
    }
}
