package io.nccl4j.ep;

/**
 * The facts about a handle and its group that the rules need.
 *
 * @param group that it belongs to
 * @param layout of the handle
 * @param topK K
 * @param alignment of experts' zones; 0 stands for the group's default
 */
record HandleShape(GroupShape group, Layout layout, int topK, int alignment) {

    HandleShape {
        alignment = Math.max(1, alignment > 0 ? alignment : group.config().alignment());
    }

    EpGroupConfig config() {
        return group.config();
    }

    /** R. */
    int ranks() {
        return group.ranks();
    }

    ExpertMajorMode mode() {
        return group.mode();
    }

    boolean isLowLatency() {
        return group.isLowLatency();
    }

    boolean isExpertMajor() {
        return layout == Layout.EXPERT_MAJOR;
    }

    /** L. */
    int localExperts() {
        return group.localExperts();
    }

    /** B. */
    int maxTokens() {
        return config().maxTokensPerRank();
    }

    /** M, the receive budget of a high-throughput group. */
    long receiveRows() {
        return group.receiveRows();
    }

    /**
     * Extents of received rows but the last: zones or regions and rows in each, or all rows of a high-throughput group.
     */
    long[] receivedRows() {
        if (!isLowLatency()) {
            return new long[]{receiveRows()};
        }
        return isExpertMajor()
                ? new long[]{localExperts(), (long) ranks() * maxTokens()}
                : new long[]{ranks(), maxTokens()};
    }

    /** For messages. */
    String name() {
        return layout + (isLowLatency() ? " of low latency" : " of high throughput");
    }

    /** For messages: low latency has one direction. */
    String name(PassDirection direction) {
        return isLowLatency()
                ? name()
                : name() + (direction == PassDirection.FORWARD ? ", forward" : ", backward") + " pass,";
    }
}
