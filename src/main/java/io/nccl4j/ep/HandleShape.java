package io.nccl4j.ep;

/**
 * The facts about a handle and its group that the rules need.
 *
 * @param config of the group
 * @param teams of the ranks
 * @param layout of the handle
 * @param topK K
 * @param receiveRows M, the receive budget of a high-throughput group
 * @param mode how EXPERT_MAJOR works in the group
 * @param alignment of experts' zones, at least 1
 * @param device that the kernels run on
 */
record HandleShape(GroupShape config, LsaTeams teams, Layout layout, int topK, long receiveRows, ExpertMajorMode mode,
        int alignment, DeviceLimits device) {

    /** @param alignment of the handle; 0 for the group's default */
    static HandleShape of(GroupShape config, LsaTeams teams, Layout layout, int topK, int alignment,
            DeviceLimits device) {
        return new HandleShape(config, teams, layout, topK, SizeFormulas.receiveRows(config, teams),
                ExpertMajorMode.of(config.zeroCopy(), teams),
                Math.max(1, alignment > 0 ? alignment : config.alignment()), device);
    }

    /** R. */
    int ranks() {
        return teams.ranks();
    }

    boolean isLowLatency() {
        return config.algorithm() == Algorithm.LOW_LATENCY;
    }

    boolean isExpertMajor() {
        return layout == Layout.EXPERT_MAJOR;
    }

    /** L. */
    int localExperts() {
        return config.experts() / ranks();
    }

    /** B. */
    int maxTokens() {
        return config.maxTokensPerRank();
    }

    /**
     * Extents of received rows but the last: zones or regions and rows in each, or all rows of a high-throughput group.
     */
    long[] receivedRows() {
        if (!isLowLatency()) {
            return new long[]{receiveRows};
        }
        return isExpertMajor()
                ? new long[]{localExperts(), (long) ranks() * maxTokens()}
                : new long[]{ranks(), maxTokens()};
    }

    /** For messages. */
    String name() {
        return layout + (isLowLatency() ? " of low latency" : " of high throughput");
    }
}
