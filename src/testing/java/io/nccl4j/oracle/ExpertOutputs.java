package io.nccl4j.oracle;

/** The outputs of the experts for the tokens they received, where every (token, expert) pair has a row of its own. */
@FunctionalInterface
public interface ExpertOutputs {

    /** The row that {@code expert} (its global number) hands to combine for a token. */
    byte[] row(int expert, Source source);
}
