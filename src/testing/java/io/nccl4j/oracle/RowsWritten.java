package io.nccl4j.oracle;

/** Which rows of its outputs a high-throughput dispatch writes; it depends on how the call was made. */
public enum RowsWritten {
    /** As many as were received; the call read the count on the host. */
    COUNT,
    /**
     * All rows of the budget, captured with staged outputs: tokens beyond the count are arbitrary, indices -1, weights
     * 0.
     */
    BUDGET,
    /** Peers wrote into the windows: tokens beyond the count are untouched, indices -1, weights 0 up to the budget. */
    WINDOW
}
