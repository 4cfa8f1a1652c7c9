package io.nccl4j.benchmarks.stats;

import java.util.Arrays;

/** The middle one of several measurements. */
public final class Median {
    private Median() {
    }

    /** @throws IllegalArgumentException if there is none */
    public static double of(double... values) {
        if (values.length == 0) {
            throw new IllegalArgumentException("the median of nothing");
        }
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        int middle = sorted.length / 2;
        return sorted.length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
    }
}
