package io.nccl4j.oracle;

/** How the high-throughput algorithm brings a token to several experts of one rank. */
public enum ExpertMajorMode {
    /** The rank receives one row and a kernel copies it to the experts' zones: the default. */
    LOCAL_PERMUTE,
    /** The row goes into the first expert's zone and the receiver copies it to the others. */
    LOCAL_DUP,
    /** The sender writes the row into every expert's zone. */
    NVLINK_DUP
}
