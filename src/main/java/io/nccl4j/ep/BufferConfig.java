package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import org.jspecify.annotations.Nullable;

/**
 * The rows of an {@link EpBuffers}: type, length, and quantisation on their way. Immutable:
 * each method returns the changed configuration.
 *
 * <p>Experts' outputs and combined rows have {@link #hidden()} elements of {@link #type()}. Without a recipe so have
 * tokens; a recipe of dispatch changes what tokens and received rows are and adds scales.
 */
public final class BufferConfig {
    private final int hidden;
    private final DataType type;
    private final DataType routingType;
    private final RowFormat format;
    private final boolean roundScales;
    private final CombineRecipe combineRecipe;

    private BufferConfig(int hidden, DataType type, DataType routingType, RowFormat format, boolean roundScales,
            CombineRecipe combineRecipe) {
        this.hidden = hidden;
        this.type = type;
        this.routingType = routingType;
        this.format = format;
        this.roundScales = roundScales;
        this.combineRecipe = combineRecipe;
    }

    /**
     * {@return rows that travel as they are, there and back; a routing of int64}
     *
     * @param hidden elements of a row
     * @param type BFLOAT16, FLOAT16 or FLOAT32
     */
    public static BufferConfig of(int hidden, DataType type) {
        return new BufferConfig(hidden, type, DataType.INT64, RowFormat.plain(type, hidden), false, CombineRecipe.NONE);
    }

    /**
     * The type of {@link EpBuffers#routing()}, as the router writes it.
     *
     * @param integers INT64 or INT32
     * @return the changed configuration
     * @throws IllegalArgumentException for another type
     */
    public BufferConfig routing(DataType integers) {
        Rule.ROUTING_TYPE.refuseIf(integers != DataType.INT64 && integers != DataType.INT32,
                "the routing is %s: must be INT64 or INT32", integers);
        return new BufferConfig(hidden, type, integers, format, roundScales, combineRecipe);
    }

    /**
     * {@link DispatchRecipe#QUANT_FWD}: the caller has quantised; rows of tokens and of scales are dispatched together,
     * byte for byte.
     *
     * @param tokens type of a token's elements: FLOAT8_E4M3, FLOAT8_E5M2, FLOAT4X2 or one of those without a recipe
     * @param tokenElements of a row, a multiple of 16 bytes; a FLOAT4X2 holds two values
     * @param scales type of scales: FLOAT32, FLOAT16, BFLOAT16, FLOAT8_E4M3, FLOAT8_E5M2 or UINT8
     * @param scaleElements of a row of scales, a multiple of 16 bytes
     * @return the changed configuration
     */
    public BufferConfig forwarding(DataType tokens, int tokenElements, DataType scales, int scaleElements) {
        return new BufferConfig(hidden, type, routingType,
                RowFormat.forwarded(tokens, tokenElements, scales, scaleElements), false, combineRecipe);
    }

    /**
     * {@link DispatchRecipe#DS_FP8E3M4}: tokens are bfloat16; received are FLOAT8_E4M3 with a float32 scale for each
     * 128 elements. Low latency only.
     *
     * @param round whether scales are rounded up to powers of two
     * @return the changed configuration
     */
    public BufferConfig blockScaledFp8(boolean round) {
        return new BufferConfig(hidden, type, routingType, RowFormat.fp8(hidden), round, combineRecipe);
    }

    /**
     * {@link CombineRecipe#NVFP4}: experts' outputs, which are bfloat16, come home in four bits, by a scale that the
     * caller writes for each row. Low latency on devices of compute capability 10.0 and up.
     *
     * @return the changed configuration
     */
    public BufferConfig nvfp4Combine() {
        return new BufferConfig(hidden, type, routingType, format, roundScales, CombineRecipe.NVFP4);
    }

    /** {@return type of the routing: INT64 or INT32} */
    public DataType routingType() {
        return routingType;
    }

    /** {@return elements of a row of experts' outputs, and of a combined row} */
    public int hidden() {
        return hidden;
    }

    /** {@return type of experts' outputs and combined rows} */
    public DataType type() {
        return type;
    }

    /** {@return quantisation of dispatch} */
    public DispatchRecipe dispatchRecipe() {
        return format.recipe();
    }

    /** {@return quantisation of combine} */
    public CombineRecipe combineRecipe() {
        return combineRecipe;
    }

    /** {@return type of the tokens that are dispatched} */
    public DataType tokenType() {
        return format.type();
    }

    /** {@return elements of a token's row as it is dispatched, and as it is received} */
    public int tokenElements() {
        return (int) format.elements();
    }

    /** {@return type of a received token's elements} */
    public DataType receivedType() {
        return format.receivedType();
    }

    /** {@return type of received scales; null if there are none} */
    public @Nullable DataType scaleType() {
        return format.scaleType();
    }

    /** {@return scales of a row; 0 if there are none} */
    public int scaleElements() {
        return (int) format.scaleElements();
    }

    RowFormat format() {
        return format;
    }

    /** How dispatch is to be called on such buffers. */
    DispatchConfig dispatch() {
        return DispatchConfig.defaults().recipe(format.recipe()).roundScales(roundScales);
    }

    /** How combine is to be called on such buffers. */
    CombineConfig combine() {
        return CombineConfig.defaults().recipe(combineRecipe);
    }

    @Override
    public String toString() {
        StringBuilder text = new StringBuilder("BufferConfig(").append(type).append(" x ").append(hidden);
        if (routingType != DataType.INT64) {
            text.append(", routing ").append(routingType);
        }
        if (format.recipe() != DispatchRecipe.NONE) {
            text.append(", dispatch ").append(format.recipe()).append(" of ").append(format.type()).append(" x ")
                    .append(format.elements()).append(" with scales ").append(format.scaleType()).append(" x ")
                    .append(format.scaleElements());
        }
        if (combineRecipe != CombineRecipe.NONE) {
            text.append(", combine ").append(combineRecipe);
        }
        return text.append(')').toString();
    }
}
