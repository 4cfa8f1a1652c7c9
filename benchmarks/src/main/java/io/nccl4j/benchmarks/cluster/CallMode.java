package io.nccl4j.benchmarks.cluster;

/** How the calls are made. */
enum CallMode {
    /** One call each. */
    EAGER,
    /** A send half and its completion each. Low latency only. */
    STAGED,
    /** As replays of captured graphs. */
    GRAPH
}
