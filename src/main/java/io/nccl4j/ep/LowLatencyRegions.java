package io.nccl4j.ep;

/**
 * The parts of the RDMA buffer of a low-latency group: two halves, each with room for the messages of a dispatch or of
 * a combine, sent and received, and the signals of each.
 *
 * @param dispatchSend bytes of outgoing dispatch messages
 * @param dispatchReceive bytes of incoming dispatch messages
 * @param combineSend bytes of outgoing combine messages
 * @param combineReceive bytes of incoming combine messages
 * @param signalBytes bytes of the signals of one half
 */
record LowLatencyRegions(long dispatchSend, long dispatchReceive, long combineSend, long combineReceive,
        long signalBytes) {
    private static final int ALIGNMENT = 16;
    private static final int BUFFER_ALIGNMENT = 128;

    static LowLatencyRegions of(GroupShape group, Layout layout, int topK) {
        EpGroupConfig config = group.config();
        int ranks = group.ranks();
        boolean rankMajor = layout == Layout.RANK_MAJOR;
        long tokens = config.maxTokensPerRank();
        long tokenBytes = config.maxTokenBytes();
        long header = Sizes.alignUp(4 + (long) topK * (rankMajor ? 8 : 2), ALIGNMENT);
        long dispatchMessage = header + tokenBytes;
        long combineMessage = tokenBytes + tokenBytes / 2 / 128 * 4;
        return new LowLatencyRegions(Sizes.product("dispatch messages", tokens, dispatchMessage),
                Sizes.product("dispatch messages", ranks, tokens, dispatchMessage),
                Sizes.product("combine messages", rankMajor ? ranks : config.experts(), tokens, combineMessage),
                Sizes.product("combine messages", topK, tokens, combineMessage),
                Sizes.alignUp(4L * config.experts(), 128));
    }

    /** All of the buffer. */
    long bytes() {
        long messages = Math.max(Sizes.sum("dispatch messages", dispatchSend, dispatchReceive),
                Sizes.sum("combine messages", combineSend, combineReceive));
        return Sizes.alignUp(Sizes.product("bytes of the RDMA buffer", 2, messages + signalBytes), BUFFER_ALIGNMENT);
    }

    boolean aligned() {
        return dispatchSend % ALIGNMENT == 0 && dispatchReceive % ALIGNMENT == 0 && combineSend % ALIGNMENT == 0
                && combineReceive % ALIGNMENT == 0;
    }
}
