package io.nccl4j.testing;

import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.CombineRecipe;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.oracle.BlockScaledFp8;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.NumberFormat;
import org.jspecify.annotations.Nullable;

/**
 * How the rows of a layer change on their way; rows that a caller quantises are e4m3 with a float scale per block, as
 * those that dispatch quantises.
 *
 * @param rows the buffers' configuration
 * @param rounded whether scales are powers of two
 */
record RowRecipe(BufferConfig rows, boolean rounded) {
    private static final int BLOCK = 128;

    static RowRecipe of(BufferConfig rows, LayerCalls calls) {
        return new RowRecipe(rows, calls.dispatchConfig() != null && calls.dispatchConfig().hasRoundScales());
    }

    boolean hasScales() {
        return rows.dispatchRecipe() != DispatchRecipe.NONE;
    }

    /** Whether the caller gives scales with the tokens. */
    boolean sendsScales() {
        return rows.dispatchRecipe() == DispatchRecipe.QUANT_FWD;
    }

    /** Whether combine quantises by scales that the experts give with their rows. */
    boolean hasOutputScales() {
        return rows.combineRecipe() == CombineRecipe.NVFP4;
    }

    /** The rows that are received of a batch. */
    GlobalInputs received(GlobalInputs batch) {
        return hasScales() ? BlockScaledFp8.quantise(batch, rounded) : batch;
    }

    /** The inputs that the caller gives to dispatch. */
    GlobalInputs sent(GlobalInputs batch) {
        return sendsScales() ? received(batch) : batch;
    }

    /** A received row as experts see it. */
    private byte[] seen(byte[] row, byte @Nullable [] scales) {
        if (scales == null || !hasScales()) {
            return row;
        }
        float[] values = NumberFormat.FLOAT8_E4M3.decodeRow(row);
        for (int i = 0; i < values.length; i++) {
            values[i] *= NumberFormat.FLOAT32.get(scales, i / BLOCK);
        }
        return format().encodeRow(values);
    }

    /** Experts that see received rows as values. */
    RowFunction experts(ExpertFunction function) {
        return (chosen, weights, row, scales) -> function.sum(chosen, weights, seen(row, scales), format());
    }

    /** The format of experts' outputs and combined rows. */
    NumberFormat format() {
        return NumberFormat.valueOf(rows.type().name());
    }
}
