package io.nccl4j.testing;

import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.oracle.BlockScaledFp8;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.RowFunction;

/** The function that experts compute, element by element. */
@FunctionalInterface
public interface ExpertFunction {

    /** The value at {@code column} of an expert's output for a token with {@code x} there. */
    float apply(int expert, int column, float x);

    /** Each expert scales by a factor of its own, so that a row which went to the wrong one shows. */
    static ExpertFunction scaling() {
        return (expert, column, x) -> (expert % 31 + 1) * 0.125f * x;
    }

    /** The same on received rows of a layer, which are made values of the rows that its experts give. */
    default RowFunction onRows(BufferConfig rows) {
        NumberFormat format = NumberFormat.valueOf(rows.type().name());
        boolean scaled = rows.dispatchRecipe() != DispatchRecipe.NONE;
        return (experts, weights, row, scales) -> sum(experts, weights,
                scaled && scales != null ? format.encodeRow(BlockScaledFp8.decode(row, scales)) : row, format);
    }

    /** The weighted sum of what experts make of a token, in their order, rounded once. */
    default byte[] sum(int[] experts, float[] weights, byte[] token, NumberFormat format) {
        float[] x = format.decodeRow(token);
        float[] sum = new float[x.length];
        for (int k = 0; k < experts.length; k++) {
            for (int column = 0; column < sum.length; column++) {
                sum[column] = Math.fma(weights[k], apply(experts[k], column, x[column]), sum[column]);
            }
        }
        return format.encodeRow(sum);
    }
}
