package io.nccl4j.oracle;

/**
 * The outputs of the ranks for the tokens they received, where a token has one row per rank: already reduced over its
 * experts.
 */
@FunctionalInterface
public interface RankOutputs {

    /** The row that {@code rank} hands to combine for a token. */
    byte[] row(int rank, Source source);
}
