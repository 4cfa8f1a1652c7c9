package io.nccl4j.oracle;

import org.jspecify.annotations.Nullable;

/** The experts of a layer, row by row. */
@FunctionalInterface
public interface RowFunction {

    /**
     * The row that experts of a rank give to combine for a received row.
     *
     * @param experts one, or all of the rank that the token has chosen
     * @param weights of these, 1 where combine applies the weights
     * @param scales received with the row, if any
     */
    byte[] output(int[] experts, float[] weights, byte[] row, byte @Nullable [] scales);
}
