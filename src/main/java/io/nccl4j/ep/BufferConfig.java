package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import org.jspecify.annotations.Nullable;

/**
 * What an {@link EpBuffers} holds: rows of which type and length, and how they are quantised on their way. Immutable: each method
 * returns the changed configuration.
 *
 * <p>Experts' outputs and combined rows have {@link #hidden()} elements of {@link #type()}. Without a recipe so have tokens; a recipe of
 * dispatch changes what tokens and received rows are and adds scales. Recipes need API v2.
 */
public final class BufferConfig {
    private static final int FP8_BLOCK = 128;

    private final int hidden;
    private final DataType type;
    private final DispatchRecipe dispatchRecipe;
    private final DataType tokenType;
    private final int tokenWidth;
    private final @Nullable DataType scaleType;
    private final int scaleWidth;
    private final boolean roundScales;
    private final CombineRecipe combineRecipe;

    private BufferConfig(int hidden, DataType type, DispatchRecipe dispatchRecipe, DataType tokenType, int tokenWidth,
            @Nullable DataType scaleType, int scaleWidth, boolean roundScales, CombineRecipe combineRecipe) {
        this.hidden = hidden;
        this.type = type;
        this.dispatchRecipe = dispatchRecipe;
        this.tokenType = tokenType;
        this.tokenWidth = tokenWidth;
        this.scaleType = scaleType;
        this.scaleWidth = scaleWidth;
        this.roundScales = roundScales;
        this.combineRecipe = combineRecipe;
    }

    /**
     * Rows that travel as they are, there and back.
     *
     * @param hidden elements of a row
     * @param type BFLOAT16, FLOAT16 or FLOAT32
     */
    public static BufferConfig of(int hidden, DataType type) {
        return new BufferConfig(hidden, type, DispatchRecipe.NONE, type, hidden, null, 0, false, CombineRecipe.NONE);
    }

    /**
     * {@link DispatchRecipe#QUANT_FWD}: the caller has quantised; rows of tokens and of scales are dispatched together, byte for byte.
     *
     * @param tokens type of a token's elements: FLOAT8_E4M3, FLOAT8_E5M2, FLOAT4X2 or one of those without a recipe
     * @param tokenElements of a row, a multiple of 16 bytes; a FLOAT4X2 holds two values
     * @param scales type of scales: FLOAT32, FLOAT16, BFLOAT16, FLOAT8_E4M3, FLOAT8_E5M2 or UINT8
     * @param scaleElements of a row of scales, a multiple of 16 bytes
     */
    public BufferConfig forwarding(DataType tokens, int tokenElements, DataType scales, int scaleElements) {
        return new BufferConfig(hidden, type, DispatchRecipe.QUANT_FWD, tokens, tokenElements, scales, scaleElements,
                false, combineRecipe);
    }

    /**
     * {@link DispatchRecipe#DS_FP8E3M4}: tokens are bfloat16; received are FLOAT8_E4M3 with a float32 scale for each 128 elements. Low
     * latency only.
     *
     * @param round whether scales are rounded up to powers of two
     */
    public BufferConfig blockScaledFp8(boolean round) {
        return new BufferConfig(hidden, type, DispatchRecipe.DS_FP8E3M4, DataType.BFLOAT16, hidden, DataType.FLOAT32,
                hidden / FP8_BLOCK, round, combineRecipe);
    }

    /**
     * {@link CombineRecipe#NVFP4}: experts' outputs, which are bfloat16, come home in four bits, by a scale that the caller writes for
     * each row. Low latency on devices of compute capability 10.0 and up.
     */
    public BufferConfig nvfp4Combine() {
        return new BufferConfig(hidden, type, dispatchRecipe, tokenType, tokenWidth, scaleType, scaleWidth, roundScales,
                CombineRecipe.NVFP4);
    }

    /** Elements of a row of experts' outputs, and of a combined row. */
    public int hidden() {
        return hidden;
    }

    /** Type of experts' outputs and combined rows. */
    public DataType type() {
        return type;
    }

    /** Quantisation of dispatch. */
    public DispatchRecipe dispatchRecipe() {
        return dispatchRecipe;
    }

    /** Quantisation of combine. */
    public CombineRecipe combineRecipe() {
        return combineRecipe;
    }

    /** Type of the tokens that are dispatched. */
    public DataType tokenType() {
        return tokenType;
    }

    /** Elements of a token's row as it is dispatched, and as it is received. */
    public int tokenElements() {
        return tokenWidth;
    }

    /** Type of a received token's elements. */
    public DataType receivedType() {
        return dispatchRecipe == DispatchRecipe.DS_FP8E3M4 ? DataType.FLOAT8_E4M3 : tokenType;
    }

    /** Type of received scales; null if there are none. */
    public @Nullable DataType scaleType() {
        return scaleType;
    }

    /** Scales of a row; 0 if there are none. */
    public int scaleElements() {
        return scaleWidth;
    }

    /** How dispatch is to be called on such buffers. */
    DispatchConfig dispatch() {
        return DispatchConfig.defaults().recipe(dispatchRecipe).roundScales(roundScales);
    }

    /** How combine is to be called on such buffers. */
    CombineConfig combine() {
        return CombineConfig.defaults().recipe(combineRecipe);
    }

    @Override
    public String toString() {
        return "BufferConfig(" + type + " x " + hidden
                + (dispatchRecipe == DispatchRecipe.NONE
                        ? ""
                        : ", dispatch " + dispatchRecipe + " of " + tokenType + " x " + tokenWidth + " with scales "
                                + scaleType + " x " + scaleWidth)
                + (combineRecipe == CombineRecipe.NONE ? ")" : ", combine " + combineRecipe + ")");
    }
}
