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

    static LowLatencyRegions of(GroupShape config, int ranks, Layout layout, int topK) {
        boolean rankMajor = layout == Layout.RANK_MAJOR;
        long tokens = config.maxTokensPerRank();
        long tokenBytes = config.maxTokenBytes();
        long header = SizeFormulas.alignUp(4 + (long) topK * (rankMajor ? 8 : 2), ALIGNMENT);
        long dispatchMessage = header + tokenBytes;
        long combineMessage = tokenBytes + tokenBytes / 2 / 128 * 4;
        return new LowLatencyRegions(SizeFormulas.product("dispatch messages", tokens, dispatchMessage),
                SizeFormulas.product("dispatch messages", ranks, tokens, dispatchMessage),
                SizeFormulas.product("combine messages", rankMajor ? ranks : config.experts(), tokens, combineMessage),
                SizeFormulas.product("combine messages", topK, tokens, combineMessage),
                SizeFormulas.alignUp(4L * config.experts(), 128));
    }

    /** Bytes of one of the two halves. */
    long slotBytes() {
        return Math.max(SizeFormulas.sum("dispatch messages", dispatchSend, dispatchReceive),
                SizeFormulas.sum("combine messages", combineSend, combineReceive));
    }

    boolean aligned() {
        return dispatchSend % ALIGNMENT == 0 && dispatchReceive % ALIGNMENT == 0 && combineSend % ALIGNMENT == 0
                && combineReceive % ALIGNMENT == 0;
    }
}
