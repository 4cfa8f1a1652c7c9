package io.nccl4j.benchmarks.test;

/** How many rows a rank may receive. */
enum Budget {
    /** The worst case: all of low latency, and high throughput with a budget that suffices. */
    WORST_CASE,
    /** High throughput with a budget that does not suffice, rows beyond it dropped. */
    DROP,
    /** High throughput without a budget: outputs are sized from the counters. */
    COUNTED
}
