package io.nccl4j.nccl;

import io.nccl4j.bindings.nccl.Nccl;

/** The way in which kernels send over the network (GPU-initiated networking), {@code ncclGinType_t}. */
public enum GinType {
    /** There is none. */
    NONE(Nccl.NCCL_GIN_TYPE_NONE()),
    /** A thread of the host sends what kernels ask for. */
    PROXY(Nccl.NCCL_GIN_TYPE_PROXY()),
    /** Kernels command the network adapter themselves. */
    GDAKI(Nccl.NCCL_GIN_TYPE_GDAKI()),
    /** A general interface of adapters. */
    GPI(Nccl.NCCL_GIN_TYPE_GPI()),
    /** One that this version of nccl4j does not know. */
    OTHER(-1);

    private final int code;

    GinType(int code) {
        this.code = code;
    }

    /**
     * {@return the type with this code, {@link #OTHER} for an unknown one}
     *
     * @param code the number that C knows it by
     */
    public static GinType of(int code) {
        for (GinType type : values()) {
            if (type.code == code) {
                return type;
            }
        }
        return OTHER;
    }

    /** {@return the number that C knows it by; -1 for {@link #OTHER}} */
    public int code() {
        return code;
    }
}
