package io.nccl4j.ep;

/**
 * What the rules need to know of a handle and its group.
 *
 * @param config of the group
 * @param generation of the library
 * @param ranks R
 * @param layout of the handle
 * @param topK K
 * @param receiveRows M, the receive budget of a high-throughput group
 * @param mode how EXPERT_MAJOR works in the group
 * @param alignment of experts' zones, at least 1
 * @param device what the kernels run on
 */
record HandleShape(EpGroupConfig config, EpGeneration generation, int ranks, Layout layout, int topK, long receiveRows,
        ExpertMajorMode mode, int alignment, DeviceLimits device) {

    boolean isLowLatency() {
        return config.algorithm() == Algorithm.LOW_LATENCY;
    }

    boolean isV2() {
        return generation == EpGeneration.API_V2;
    }

    boolean isExpertMajor() {
        return layout == Layout.EXPERT_MAJOR;
    }

    /** L. */
    int localExperts() {
        return config.experts() / ranks;
    }

    /** B. */
    int maxTokens() {
        return config.maxTokensPerRank();
    }

    /** The first two extents of what a low-latency dispatch writes: zones or regions, and rows in each. */
    long[] zones() {
        return isExpertMajor()
                ? new long[]{localExperts(), (long) ranks * maxTokens()}
                : new long[]{ranks, maxTokens()};
    }
}
