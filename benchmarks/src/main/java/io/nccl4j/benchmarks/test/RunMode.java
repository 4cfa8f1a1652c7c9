package io.nccl4j.benchmarks.test;

/** How operations are run. */
enum RunMode {
    /** Each at once. */
    EAGER,
    /** The send half first, completed later. */
    STAGED,
    /** Captured once and replayed with other inputs. */
    GRAPH
}
