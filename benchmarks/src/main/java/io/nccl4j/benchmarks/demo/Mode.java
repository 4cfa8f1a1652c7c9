package io.nccl4j.benchmarks.demo;

/** How a step is run. */
enum Mode {
    /** Every call of every step is made anew. */
    EAGER,
    /** The step is captured once and replayed. */
    GRAPH
}
