package io.nccl4j.oracle;

/**
 * The shape that all ranks of a group agree on.
 *
 * @param ranks number of ranks, R
 * @param experts number of experts over all ranks, E; expert {@code e} lives on rank {@code e / (E / R)}
 * @param topK experts per token, K
 * @param maxTokens most tokens a rank may send, B
 * @param teams LSA teams of consecutive ranks, as a rule hosts
 */
public record EpShape(int ranks, int experts, int topK, int maxTokens, int teams) {

    public EpShape {
        if (ranks < 1 || experts < 1 || experts % ranks != 0 || topK < 1 || maxTokens < 1 || teams < 1
                || ranks % teams != 0) {
            throw new IllegalArgumentException("ranks " + ranks + ", experts " + experts + ", topK " + topK
                    + ", maxTokens " + maxTokens + ", teams " + teams
                    + ": all must be positive, experts a multiple of ranks, and ranks of teams");
        }
    }

    /** All ranks in one team. */
    public EpShape(int ranks, int experts, int topK, int maxTokens) {
        this(ranks, experts, topK, maxTokens, 1);
    }

    /** The same sizes in so many teams. */
    public EpShape inTeams(int count) {
        return new EpShape(ranks, experts, topK, maxTokens, count);
    }

    /** Ranks of a team. */
    public int teamSize() {
        return ranks / teams;
    }

    /** Experts per rank, L. */
    public int localExperts() {
        return experts / ranks;
    }

    /** The rank that owns an expert. */
    public int rankOf(int expert) {
        return expert / localExperts();
    }

    /** An expert's number on the rank that owns it. */
    public int localId(int expert) {
        return expert % localExperts();
    }
}
