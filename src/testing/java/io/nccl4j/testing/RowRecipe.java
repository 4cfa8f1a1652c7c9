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
    /** The largest product of a value in four bits and a block's scale. */
    private static final float LARGEST = 2688;

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

    int sentBytes() {
        return rows.tokenElements() * rows.tokenType().byteSize();
    }

    int receivedBytes() {
        return rows.tokenElements() * rows.receivedType().byteSize();
    }

    int scaleBytes() {
        return hasScales() ? rows.scaleElements() * Float.BYTES : 0;
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
    byte[] seen(byte[] row, byte @Nullable [] scales) {
        if (scales == null || !hasScales()) {
            return row;
        }
        float[] values = NumberFormat.FLOAT8_E4M3.decodeRow(row);
        for (int i = 0; i < values.length; i++) {
            values[i] *= NumberFormat.FLOAT32.get(scales, i / BLOCK);
        }
        return NumberFormat.valueOf(rows.type().name()).encodeRow(values);
    }

    /** The same for all tokens of a batch. */
    GlobalInputs seen(GlobalInputs batch) {
        if (!hasScales()) {
            return batch;
        }
        GlobalInputs received = received(batch);
        byte[][][] seen = new byte[received.tokens().length][][];
        for (int rank = 0; rank < seen.length; rank++) {
            seen[rank] = new byte[received.tokens()[rank].length][];
            for (int token = 0; token < seen[rank].length; token++) {
                seen[rank][token] = seen(received.tokens()[rank][token], received.scales()[rank][token]);
            }
        }
        return new GlobalInputs(received.routing(), seen, null, received.weights());
    }

    /** The scale that experts give to a bfloat16 row that comes home in four bits. */
    static float outputScale(byte[] row) {
        float largest = 0;
        for (float value : NumberFormat.BFLOAT16.decodeRow(row)) {
            largest = Math.max(largest, Math.abs(value));
        }
        return largest == 0 ? 1 : LARGEST / largest;
    }
}
