package io.nccl4j.benchmarks.cluster;

import io.nccl4j.benchmarks.layer.Traffic;

/** The operation that is timed. */
enum Operation {
    DISPATCH, COMBINE,
    /** Dispatch, and combine right after it. */
    BOTH;

    /** Bytes of a rank. */
    long bytes(Traffic traffic, int rank) {
        return switch (this) {
            case DISPATCH -> traffic.dispatchBytes(rank);
            case COMBINE -> traffic.combineBytes(rank);
            case BOTH -> traffic.dispatchBytes(rank) + traffic.combineBytes(rank);
        };
    }
}
