package io.nccl4j.ep;

import org.jspecify.annotations.Nullable;

/**
 * The facts about a group that rules and sizes need. Its ranks are in LSA teams: runs of consecutive ranks that address
 * each other's memory; between teams there is a network.
 *
 * @param config of the group
 * @param ranks R
 * @param teams N, a divisor of it
 * @param device that its kernels run on
 * @param mode how EXPERT_MAJOR works in the group
 */
record GroupShape(EpGroupConfig config, int ranks, int teams, DeviceLimits device, ExpertMajorMode mode) {

    /** With the mode that NCCL EP chooses now. */
    static GroupShape of(EpGroupConfig config, int ranks, int teams, DeviceLimits device) {
        return new GroupShape(config, ranks, teams, device, ExpertMajorMode.of(config.zeroCopy(), teams));
    }

    boolean isLowLatency() {
        return config.algorithm() == Algorithm.LOW_LATENCY;
    }

    boolean hasSeveralTeams() {
        return teams > 1;
    }

    /** S: ranks of a team. */
    int teamSize() {
        return ranks / teams;
    }

    /** L. */
    int localExperts() {
        return config.experts() / ranks;
    }

    /** L times S: how many of all experts the ranks of a team have. */
    int teamExperts() {
        return localExperts() * teamSize();
    }

    /** The next number of experts, from {@code experts} on, that a group on so many ranks can have. */
    static int paddedExperts(Algorithm algorithm, int experts, int ranks, int teams) {
        long multiple = ranks;
        while (algorithm == Algorithm.HIGH_THROUGHPUT && multiple / teams % 4 != 0) {
            multiple += ranks;
        }
        return Sizes.number("padded experts", Sizes.alignUp(Math.max(1, experts), multiple));
    }

    /** The most rows that a rank may receive. */
    long receiveRows() {
        EpGroupConfig c = config;
        if (isLowLatency()) {
            long perZone = (long) ranks * c.maxTokensPerRank();
            return c.layout() == Layout.EXPERT_MAJOR
                    ? Sizes.product("received rows", perZone, localExperts())
                    : perZone;
        }
        if (c.isEager()) {
            return Sizes.product("received rows", ranks, c.maxTokensPerRank(), Math.max(c.topK(), 1));
        }
        return c.receiveRows() > 0
                ? c.receiveRows()
                : worstCaseRows(c.layout(), c.topK() > 0 ? c.topK() : c.experts(), Math.max(1, c.alignment()));
    }

    /** Every token comes to this rank: once in FLAT, else once for each expert it can have here, zones padded. */
    long worstCaseRows(@Nullable Layout layout, int topK, long alignment) {
        long tokens = (long) ranks * config.maxTokensPerRank();
        boolean permute = mode == ExpertMajorMode.LOCAL_PERMUTE;
        if (layout == Layout.FLAT && permute) {
            return tokens;
        }
        // The modes that duplicate rows demand a row for every top-k entry.
        long entries = Sizes.product("received rows", tokens, permute ? Math.min(topK, localExperts()) : topK);
        return layout == Layout.FLAT
                ? entries
                : Sizes.alignUp(
                        Sizes.sum("received rows", entries, Sizes.product("padding", localExperts(), alignment - 1)),
                        alignment);
    }

    /** For messages. */
    String teamsText() {
        return teams + (hasSeveralTeams() ? " teams of " : " team of ") + teamSize()
                + (teamSize() == 1 ? " rank" : " ranks");
    }

    /** The values that must be the same on all ranks, which nothing in the library compares. */
    String common() {
        EpGroupConfig c = config;
        return c.algorithm() + " with " + c.experts() + " experts, maxTokensPerRank " + c.maxTokensPerRank()
                + ", maxTokenBytes " + c.maxTokenBytes() + ", layout " + c.layout() + ", topK " + c.topK()
                + ", alignment " + c.alignment()
                + (isLowLatency()
                        ? ", " + (c.isGrowing() ? "a growing buffer" : "rdmaBufferBytes " + c.rdmaBufferBytes())
                        : ", " + (c.isEager() ? "eager" : "maxReceiveRows " + c.receiveRows()) + ", mode " + mode
                                + ", overflow " + c.overflow())
                + ", zeroCopy " + c.zeroCopy() + (c.hasMask() ? ", with masks" : "");
    }
}
