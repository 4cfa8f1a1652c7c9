package io.nccl4j.ep.graphs;

import io.nccl4j.ep.BufferConfig;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.BlockScaledFp8;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.NumberFormat;

/** How the rows of a layer are quantised on their way. */
enum Quantisation {
    /** Not at all. */
    PLAIN,
    /** Dispatch makes e4m3 of bfloat16, with a scale for each block. */
    BLOCK_SCALED,
    /** The same with scales that are powers of two. */
    BLOCK_SCALED_ROUNDED,
    /** The caller sends e4m3 with scales. */
    FORWARDED,
    /** Dispatch is plain; combine brings rows home in four bits. */
    NVFP4_COMBINE;

    private static final int BLOCK = 128;
    /** The largest product of a value in four bits and a block's scale. */
    private static final float LARGEST = 2688;

    BufferConfig buffers(EpCase model) {
        BufferConfig plain = BufferConfig.of(model.hidden(), LayerKind.type(model.format()));
        return switch (this) {
            case PLAIN -> plain;
            case BLOCK_SCALED -> plain.blockScaledFp8(false);
            case BLOCK_SCALED_ROUNDED -> plain.blockScaledFp8(true);
            case FORWARDED ->
                plain.forwarding(DataType.FLOAT8_E4M3, model.hidden(), DataType.FLOAT32, model.hidden() / BLOCK);
            case NVFP4_COMBINE -> plain.nvfp4Combine();
        };
    }

    private boolean isDispatchQuantised() {
        return this == BLOCK_SCALED || this == BLOCK_SCALED_ROUNDED || this == FORWARDED;
    }

    /** What is to be received of a batch. */
    GlobalInputs wire(EpCase batch) {
        return isDispatchQuantised()
                ? BlockScaledFp8.quantise(batch.inputs(), this == BLOCK_SCALED_ROUNDED)
                : batch.inputs();
    }

    /** What the caller gives to dispatch. */
    GlobalInputs given(EpCase batch) {
        return this == FORWARDED ? wire(batch) : batch.inputs();
    }

    /** What experts compute on: a received row in the format of the case. */
    byte[] seen(byte[] row, byte[] scales, NumberFormat format) {
        if (!isDispatchQuantised()) {
            return row;
        }
        float[] values = NumberFormat.FLOAT8_E4M3.decodeRow(row);
        for (int i = 0; i < values.length; i++) {
            values[i] *= NumberFormat.FLOAT32.get(scales, i / BLOCK);
        }
        return format.encodeRow(values);
    }

    /** The same for all tokens of a batch. */
    GlobalInputs seen(EpCase batch) {
        if (!isDispatchQuantised()) {
            return batch.inputs();
        }
        GlobalInputs wire = wire(batch);
        byte[][][] rows = new byte[wire.tokens().length][][];
        for (int rank = 0; rank < rows.length; rank++) {
            rows[rank] = new byte[wire.tokens()[rank].length][];
            for (int token = 0; token < rows[rank].length; token++) {
                rows[rank][token] = seen(wire.tokens()[rank][token], wire.scales()[rank][token], batch.format());
            }
        }
        return new GlobalInputs(wire.routing(), rows, null, wire.weights());
    }

    /** The scale that the caller gives to a row that comes home in four bits. */
    static float outputScale(byte[] row, NumberFormat format) {
        float largest = 0;
        for (float value : format.decodeRow(row)) {
            largest = Math.max(largest, Math.abs(value));
        }
        return largest == 0 ? 1 : LARGEST / largest;
    }
}
