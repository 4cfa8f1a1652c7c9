package io.nccl4j.oracle;

/**
 * What the ranks made of the tokens they received, where a token has one row per rank: already reduced over its
 * experts.
 */
@FunctionalInterface
public interface RankOutputs {

    /** The row that {@code rank} hands to combine for a token. */
    byte[] row(int rank, Source source);
}
