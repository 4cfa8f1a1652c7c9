package io.nccl4j.examples.moe.step;

/**
 * The rows of one step on one rank.
 *
 * @param tokens of each row
 * @param slots which sequence's cache each row uses
 * @param positions of the tokens in their sequences
 * @param temperatures 0 for the best token
 * @param seeds of sampling
 */
public record StepBatch(int[] tokens, int[] slots, int[] positions, float[] temperatures, long[] seeds) {
    /** A rank without requests takes part all the same. */
    public static final StepBatch EMPTY = ofSize(0);

    public static StepBatch ofSize(int rows) {
        return new StepBatch(new int[rows], new int[rows], new int[rows], new float[rows], new long[rows]);
    }

    public int rows() {
        return tokens.length;
    }
}
