package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;

/**
 * Which way through the model an operation belongs to, {@code ncclEpPassDir_t}. Low latency has the forward pass only.
 */
public enum PassDirection {
    /** Tokens to experts, expert outputs home. */
    FORWARD(NcclEp.NCCL_EP_FWD_PASS()),
    /** Gradients of outputs to experts, gradients of inputs and of weights home. */
    BACKWARD(NcclEp.NCCL_EP_BWD_PASS());

    private final int code;

    PassDirection(int code) {
        this.code = code;
    }

    int code() {
        return code;
    }
}
