package io.nccl4j.benchmarks.test;

import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.CombineRecipe;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.BlockScaledFp8;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.NumberFormat;
import java.util.SplittableRandom;

/**
 * A token on its way: type and recipe. Combine works on plain rows; bfloat16 ones where dispatch had quantised
 * ones.
 */
enum Wire {
    BFLOAT16(NumberFormat.BFLOAT16), FLOAT16(NumberFormat.FLOAT16), FLOAT32(NumberFormat.FLOAT32), FLOAT8_E4M3(
            NumberFormat.FLOAT8_E4M3),
    /** Two values in a byte: any bytes will do, since they are only passed on. */
    FLOAT4X2(NumberFormat.FLOAT8_E4M3),
    /** bfloat16 that the sender turns into e4m3 with scales. */
    BFLOAT16_TO_E4M3(NumberFormat.BFLOAT16),
    /** Plain bfloat16 on its way out, four bits on its way home. */
    BFLOAT16_HOME_NVFP4(NumberFormat.BFLOAT16);

    private final NumberFormat drawnFormat;

    /** @param drawnFormat what random rows are drawn in */
    Wire(NumberFormat drawnFormat) {
        this.drawnFormat = drawnFormat;
    }

    /** The rows of tokens of {@code hidden} values. */
    BufferConfig rows(int hidden, boolean roundScales) {
        BufferConfig plain = BufferConfig.of(hidden, DataType.BFLOAT16);
        return switch (this) {
            case BFLOAT16, FLOAT16, FLOAT32 -> BufferConfig.of(hidden, DataType.valueOf(name()));
            case FLOAT8_E4M3 -> plain.forwarding(DataType.FLOAT8_E4M3, hidden, DataType.FLOAT32, hidden / 128);
            case FLOAT4X2 -> plain.forwarding(DataType.FLOAT4X2, hidden / packed(), DataType.UINT8, hidden / 16);
            case BFLOAT16_TO_E4M3 -> plain.blockScaledFp8(roundScales);
            case BFLOAT16_HOME_NVFP4 -> plain.nvfp4Combine();
        };
    }

    DispatchRecipe recipe() {
        return rows(512, false).dispatchRecipe();
    }

    CombineRecipe combineRecipe() {
        return rows(512, false).combineRecipe();
    }

    /** The recipe in use, or NONE. */
    String recipeName() {
        return combineRecipe() == CombineRecipe.NONE ? recipe().name() : combineRecipe().name();
    }

    NumberFormat drawnFormat() {
        return drawnFormat;
    }

    /** Values in an element of a dispatched row. */
    int packed() {
        return this == FLOAT4X2 ? 2 : 1;
    }

    /** Whether dispatched rows have scales. */
    boolean isQuantised() {
        return recipe() != DispatchRecipe.NONE;
    }

    /** The drawn inputs with scales, where the caller provides them. */
    GlobalInputs sent(GlobalInputs drawn, BufferConfig rows, SplittableRandom random) {
        DataType scaleType = rows.scaleType();
        if (recipe() != DispatchRecipe.QUANT_FWD || scaleType == null) {
            return drawn;
        }
        byte[][][] scales = new byte[drawn.tokens().length][][];
        for (int rank = 0; rank < scales.length; rank++) {
            scales[rank] = new byte[drawn.tokens()[rank].length][rows.scaleElements() * scaleType.byteSize()];
            for (byte[] row : scales[rank]) {
                random.nextBytes(row);
            }
        }
        return new GlobalInputs(drawn.routing(), drawn.tokens(), scales, drawn.weights());
    }

    /** The values that arrive for those that were sent. */
    GlobalInputs received(GlobalInputs sent, boolean roundScales) {
        return recipe() == DispatchRecipe.DS_FP8E3M4 ? BlockScaledFp8.quantise(sent, roundScales) : sent;
    }
}
