package io.nccl4j.benchmarks.test;

import io.nccl4j.ep.CombineRecipe;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.BlockScaledFp8;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.NumberFormat;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/**
 * What a token is on its way: type and recipe. Combine works on plain rows; bfloat16 ones where dispatch had quantised
 * ones.
 */
enum Wire {
    BFLOAT16(DispatchRecipe.NONE, DataType.BFLOAT16, NumberFormat.BFLOAT16, 1, null, 0), FLOAT16(DispatchRecipe.NONE,
            DataType.FLOAT16, NumberFormat.FLOAT16, 1, null,
            0), FLOAT32(DispatchRecipe.NONE, DataType.FLOAT32, NumberFormat.FLOAT32, 1, null, 0), FLOAT8_E4M3(
                    DispatchRecipe.QUANT_FWD, DataType.FLOAT8_E4M3, NumberFormat.FLOAT8_E4M3, 1, DataType.FLOAT32, 128),
    /** Two values in a byte: any bytes will do, since they are only passed on. */
    FLOAT4X2(DispatchRecipe.QUANT_FWD, DataType.FLOAT4X2, NumberFormat.FLOAT8_E4M3, 2, DataType.UINT8, 16),
    /** bfloat16 that the sender turns into e4m3 with scales. */
    BFLOAT16_TO_E4M3(DispatchRecipe.DS_FP8E3M4, DataType.BFLOAT16, NumberFormat.BFLOAT16, 1, DataType.FLOAT32, 128),
    /** Plain bfloat16 on its way out, four bits on its way home. */
    BFLOAT16_HOME_NVFP4(DispatchRecipe.NONE, DataType.BFLOAT16, NumberFormat.BFLOAT16, 1, null, 0);

    private final DispatchRecipe recipe;
    private final DataType sentType;
    private final NumberFormat drawnFormat;
    private final int packed;
    private final @Nullable DataType scaleType;
    private final int block;

    /**
     * @param drawnFormat what random rows are drawn in
     * @param packed values in an element
     * @param scaleType type of scales, or null for none
     * @param block values that share a scale
     */
    Wire(DispatchRecipe recipe, DataType sentType, NumberFormat drawnFormat, int packed, @Nullable DataType scaleType,
            int block) {
        this.recipe = recipe;
        this.sentType = sentType;
        this.drawnFormat = drawnFormat;
        this.packed = packed;
        this.scaleType = scaleType;
        this.block = block;
    }

    DispatchRecipe recipe() {
        return recipe;
    }

    CombineRecipe combineRecipe() {
        return this == BFLOAT16_HOME_NVFP4 ? CombineRecipe.NVFP4 : CombineRecipe.NONE;
    }

    /** The recipe in use, or NONE. */
    String recipeName() {
        return combineRecipe() == CombineRecipe.NONE ? recipe.name() : combineRecipe().name();
    }

    NumberFormat drawnFormat() {
        return drawnFormat;
    }

    DataType sentType() {
        return sentType;
    }

    DataType receivedType() {
        return recipe == DispatchRecipe.DS_FP8E3M4 ? DataType.FLOAT8_E4M3 : sentType;
    }

    /** Elements of a token row of {@code hidden} values. */
    int elements(int hidden) {
        return hidden / packed;
    }

    /** Type of received scales, or null if there are none. */
    @Nullable
    DataType scaleType() {
        return scaleType;
    }

    /** Whether the caller provides scales. */
    boolean sendsScales() {
        return recipe == DispatchRecipe.QUANT_FWD;
    }

    /** Scales of a token row of {@code hidden} values. */
    int scales(int hidden) {
        return block == 0 ? 0 : hidden / block;
    }

    DataType combineType() {
        return recipe == DispatchRecipe.NONE ? sentType : DataType.BFLOAT16;
    }

    NumberFormat combineFormat() {
        return recipe == DispatchRecipe.NONE ? drawnFormat : NumberFormat.BFLOAT16;
    }

    /** Bytes of the longest row with its scales, in either direction, as a multiple of 16. */
    int maxTokenBytes(int hidden) {
        int scaleBytes = scaleType == null ? 0 : scales(hidden) * scaleType.byteSize();
        int dispatched = elements(hidden) * Math.max(sentType.byteSize(), receivedType().byteSize()) + scaleBytes;
        return (Math.max(dispatched, hidden * combineType().byteSize()) + 15) / 16 * 16;
    }

    /** The drawn inputs with scales, where the caller provides them. */
    GlobalInputs sent(GlobalInputs drawn, int hidden, SplittableRandom random) {
        if (!sendsScales() || scaleType == null) {
            return drawn;
        }
        byte[][][] scales = new byte[drawn.tokens().length][][];
        for (int rank = 0; rank < scales.length; rank++) {
            scales[rank] = new byte[drawn.tokens()[rank].length][scales(hidden) * scaleType.byteSize()];
            for (byte[] row : scales[rank]) {
                random.nextBytes(row);
            }
        }
        return new GlobalInputs(drawn.routing(), drawn.tokens(), scales, drawn.weights());
    }

    /** What arrives of what was sent. */
    GlobalInputs received(GlobalInputs sent, boolean roundScales) {
        return recipe == DispatchRecipe.DS_FP8E3M4 ? BlockScaledFp8.quantise(sent, roundScales) : sent;
    }
}
