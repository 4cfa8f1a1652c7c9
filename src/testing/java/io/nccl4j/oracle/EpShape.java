package io.nccl4j.oracle;

/**
 * The shape that all ranks of a group agree on.
 *
 * @param ranks number of ranks, R
 * @param experts number of experts over all ranks, E; expert {@code e} lives on rank {@code e / (E / R)}
 * @param topK experts per token, K
 * @param maxTokens most tokens a rank may send, B
 */
public record EpShape(int ranks, int experts, int topK, int maxTokens) {

    public EpShape {
        if (ranks < 1 || experts < 1 || experts % ranks != 0 || topK < 1 || maxTokens < 1) {
            throw new IllegalArgumentException("ranks " + ranks + ", experts " + experts + ", topK " + topK
                    + ", maxTokens " + maxTokens + ": all must be positive and experts a multiple of ranks");
        }
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
