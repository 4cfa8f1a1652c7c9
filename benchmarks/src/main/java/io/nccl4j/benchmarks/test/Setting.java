package io.nccl4j.benchmarks.test;

import io.nccl4j.oracle.ExpertMajorMode;
import io.nccl4j.testing.LayerKind;
import org.jspecify.annotations.Nullable;

/** Settings of a group beyond its configuration's shape. */
enum Setting {
    /** As the library comes. */
    STANDARD,
    /** High throughput expert-major: the receiver copies a row to the other experts, by environment. */
    LOCAL_DUP,
    /** High throughput expert-major: the sender writes a row for every expert, by environment. */
    NVLINK_DUP,
    /** Low latency: one rank is masked by all others and does nothing. */
    MASKED;

    /** How high throughput brings a token to several experts of a rank. */
    ExpertMajorMode expertMajorMode(boolean zeroCopy, int teams) {
        return switch (this) {
            case NVLINK_DUP -> ExpertMajorMode.NVLINK_DUP;
            case LOCAL_DUP -> ExpertMajorMode.LOCAL_DUP;
            default -> !zeroCopy
                    ? ExpertMajorMode.LOCAL_PERMUTE
                    : teams == 1 ? ExpertMajorMode.LOCAL_DUP : ExpertMajorMode.NVLINK_DUP;
        };
    }

    /** Whether experts per rank must be a power of two, and the budget hold all rows there can be. */
    boolean duplicates() {
        return this == LOCAL_DUP || this == NVLINK_DUP;
    }

    boolean suits(LayerKind shape) {
        return switch (this) {
            case STANDARD -> true;
            case LOCAL_DUP, NVLINK_DUP -> shape == LayerKind.HT_EXPERT_MAJOR;
            case MASKED -> shape.isLowLatency();
        };
    }

    /** The variable that asks for it, or null. */
    @Nullable
    String variable() {
        return switch (this) {
            case LOCAL_DUP -> "NCCL_EP_HT_EM_LOCAL_DUP";
            case NVLINK_DUP -> "NCCL_EP_HT_EM_NVLINK_DUP";
            default -> null;
        };
    }
}
