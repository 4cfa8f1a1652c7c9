package io.nccl4j.ep.graphs;

import io.nccl4j.ep.BufferConfig;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.LayerKind;

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
}
