package io.nccl4j.ep;

/** The device memory that creating a group takes. */
final class GroupMemory {
    /** Of every group, from its allocator. */
    static final long WORKSPACE_BYTES = 32L << 20;
    private static final int PAGE = 4096;
    private static final int DEFAULT_CHUNK = 64;
    private static final int CHUNK_MULTIPLE = 32;
    private static final int FLAG_BYTES = 8;

    private GroupMemory() {
    }

    /** All of it. */
    static long bytes(GroupShape group, LsaTeams teams) {
        if (!group.isLowLatency()) {
            return SizeFormulas.sum("bytes of the group", WORKSPACE_BYTES, SizeFormulas.windowBytes(group, teams),
                    interTeamBytes(group, teams));
        }
        Layout layout = group.layout();
        long exact = layout == null ? 0 : SizeFormulas.rdmaBufferBytes(group, teams.ranks(), layout, group.topK());
        return SizeFormulas.sum("bytes of the group", WORKSPACE_BYTES,
                group.isGrowing() ? 0 : Math.max(exact, group.rdmaBufferBytes()));
    }

    /**
     * The memory in which a high-throughput group over several teams keeps what goes to other teams and comes from
     * there, beside its window. Every part takes whole pages.
     */
    static long interTeamBytes(GroupShape group, LsaTeams teams) {
        if (!teams.areSeveral()) {
            return 0;
        }
        long others = teams.count() - 1;
        long tokens = group.maxTokensPerRank();
        long tokenBytes = group.maxTokenBytes();
        long weightBytes = (long) teams.experts(group.experts()) * Float.BYTES;
        int chunk = chunk();
        long inChunks = SizeFormulas.alignUp(tokens, chunk);
        long sums = pages(inChunks, others, tokenBytes);
        long gradients = pages(inChunks, others, weightBytes);
        long flags = pages(others, inChunks / chunk, FLAG_BYTES);
        long marks = pages(teams.count(), FLAG_BYTES);
        long packedRows = pages(others, tokens, tokenBytes + weightBytes);
        long own = SizeFormulas.sum("bytes for the network", pages(tokens, tokenBytes),
                pages(tokens, group.experts(), Float.BYTES));
        return SizeFormulas.sum("bytes for the network", own, sums, sums, gradients, gradients, flags, flags, marks,
                marks, packedRows, packedRows);
    }

    /** Tokens that travel together. */
    private static int chunk() {
        String value = ExpertMajorMode.environment.apply("NCCL_EP_TOKENS_PER_CHUNK");
        if (value == null || !value.matches("[0-9]{1,7}") || Integer.parseInt(value) == 0) {
            return DEFAULT_CHUNK;
        }
        return (int) SizeFormulas.alignUp(Integer.parseInt(value), CHUNK_MULTIPLE);
    }

    private static long pages(long... factors) {
        return SizeFormulas.alignUp(SizeFormulas.product("bytes for the network", factors), PAGE);
    }
}
