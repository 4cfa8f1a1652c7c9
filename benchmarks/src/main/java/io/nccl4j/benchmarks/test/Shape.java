package io.nccl4j.benchmarks.test;

import io.nccl4j.ep.Algorithm;
import io.nccl4j.ep.Layout;

/** The algorithms of NCCL EP with their layouts. */
enum Shape {
    LL_EXPERT_MAJOR(Algorithm.LOW_LATENCY, Layout.EXPERT_MAJOR), LL_RANK_MAJOR(Algorithm.LOW_LATENCY,
            Layout.RANK_MAJOR), HT_FLAT(Algorithm.HIGH_THROUGHPUT,
                    Layout.FLAT), HT_EXPERT_MAJOR(Algorithm.HIGH_THROUGHPUT, Layout.EXPERT_MAJOR);

    private final Algorithm algorithm;
    private final Layout layout;

    Shape(Algorithm algorithm, Layout layout) {
        this.algorithm = algorithm;
        this.layout = layout;
    }

    Algorithm algorithm() {
        return algorithm;
    }

    Layout layout() {
        return layout;
    }

    boolean isLowLatency() {
        return algorithm == Algorithm.LOW_LATENCY;
    }
}
