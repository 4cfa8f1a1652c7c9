package io.nccl4j.examples.moe.model;

import java.util.Set;

/**
 * The shape of a Qwen3-MoE model.
 *
 * @param name what clients call it
 * @param layers decoder layers
 * @param hidden elements of a token's activation
 * @param heads query heads
 * @param kvHeads key-value heads, each shared by {@code heads / kvHeads} query heads
 * @param headSize elements of a head
 * @param experts experts per layer
 * @param topK experts per token
 * @param expertWidth inner elements of an expert
 * @param renormalise whether the weights of the chosen experts are divided by their sum
 * @param vocabulary number of tokens
 * @param tied whether the head is the embedding
 * @param epsilon of all norms
 * @param ropeTheta base of the rotary embedding
 * @param maxPositions longest sequence that the model was made for
 * @param endTokens tokens that end a sequence
 */
public record ModelConfig(String name, int layers, int hidden, int heads, int kvHeads, int headSize, int experts,
        int topK, int expertWidth, boolean renormalise, int vocabulary, boolean tied, float epsilon, double ropeTheta,
        int maxPositions, Set<Integer> endTokens) {
    public ModelConfig {
        endTokens = Set.copyOf(endTokens);
    }

    /** The same model with fewer layers. */
    public ModelConfig withLayers(int count) {
        if (count < 1 || count > layers) {
            throw new ModelException("--layers " + count + ": " + name + " has 1 to " + layers);
        }
        return new ModelConfig(name, count, hidden, heads, kvHeads, headSize, experts, topK, expertWidth, renormalise,
                vocabulary, tied, epsilon, ropeTheta, maxPositions, endTokens);
    }

    /** Columns of the projection to queries, keys and values together. */
    public int qkvWidth() {
        return (heads + 2 * kvHeads) * headSize;
    }

    /** Columns of the queries, and of the attention's output. */
    public int queryWidth() {
        return heads * headSize;
    }

    /** Bytes of the weights on one rank. */
    public long weightBytes(int ranks) {
        long dense = (long) qkvWidth() * hidden + (long) hidden * queryWidth() + (long) experts * hidden + 2L * hidden
                + 2L * headSize;
        long local = (long) experts / ranks * 3 * expertWidth * hidden;
        long outer = (long) vocabulary * hidden * (tied ? 1 : 2) + hidden;
        return 2 * (layers * (dense + local) + outer);
    }

    /** Bytes of the key-value cache for so many positions in all. */
    public long cacheBytes(long positions) {
        return 2L * 2 * layers * kvHeads * headSize * positions;
    }
}
