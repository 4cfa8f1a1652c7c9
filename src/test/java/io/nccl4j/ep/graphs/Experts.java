package io.nccl4j.ep.graphs;

import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.NumberFormat;

/**
 * The experts of a rank: each scales by a factor of its own, so that a row that went to the wrong one shows.
 *
 * @param model names format and shape
 * @param rank where they live
 */
record Experts(EpCase model, int rank) {
    /** What a local expert makes of a row. */
    byte[] apply(int local, byte[] row) {
        return reduce(new int[]{local}, new float[]{1}, row);
    }

    /** The weighted sum of what several local experts (-1 for none) make of a row, in their order, rounded once. */
    byte[] reduce(int[] locals, float[] weights, byte[] row) {
        NumberFormat format = model.format();
        float[] sum = new float[model.hidden()];
        for (int k = 0; k < locals.length; k++) {
            if (locals[k] >= 0) {
                float factor = (rank * model.shape().localExperts() + locals[k] + 1) * weights[k];
                for (int i = 0; i < sum.length; i++) {
                    sum[i] += format.get(row, i) * factor;
                }
            }
        }
        return format.encodeRow(sum);
    }
}
