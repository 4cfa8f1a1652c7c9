package io.nccl4j.nccl;

import io.nccl4j.bindings.nccl.Nccl;

/** How elements of different ranks become one, {@code ncclRedOp_t}. */
public enum ReduceOp {
    /** Their sum. */
    SUM(Nccl.ncclSum()),
    /** Their product. */
    PRODUCT(Nccl.ncclProd()),
    /** The largest. */
    MAX(Nccl.ncclMax()),
    /** The smallest. */
    MIN(Nccl.ncclMin()),
    /** Their sum divided by the number of ranks. */
    AVERAGE(Nccl.ncclAvg());

    private final int code;

    ReduceOp(int code) {
        this.code = code;
    }

    /** {@return the number that C knows it by} */
    public int code() {
        return code;
    }
}
