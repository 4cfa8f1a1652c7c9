package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import org.jspecify.annotations.Nullable;

/**
 * Rows as they are dispatched.
 *
 * @param recipe of dispatch
 * @param type of a token's elements
 * @param elements of a token's row
 * @param scaleType of received scales; null if there are none
 * @param scaleElements scales of a row
 */
record RowFormat(DispatchRecipe recipe, DataType type, long elements, @Nullable DataType scaleType,
        long scaleElements) {
    /** Elements that share a scale of {@link DispatchRecipe#DS_FP8E3M4}. */
    static final int FP8_BLOCK = 128;

    static RowFormat plain(DataType type, long elements) {
        return new RowFormat(DispatchRecipe.NONE, type, elements, null, 0);
    }

    static RowFormat forwarded(DataType type, long elements, DataType scaleType, long scaleElements) {
        return new RowFormat(DispatchRecipe.QUANT_FWD, type, elements, scaleType, scaleElements);
    }

    static RowFormat fp8(long elements) {
        return new RowFormat(DispatchRecipe.DS_FP8E3M4, DataType.BFLOAT16, elements, DataType.FLOAT32,
                elements / FP8_BLOCK);
    }

    DataType receivedType() {
        return recipe == DispatchRecipe.DS_FP8E3M4 ? DataType.FLOAT8_E4M3 : type;
    }

    long tokenBytes() {
        return type.bytes(elements);
    }

    long scaleBytes() {
        return scaleType == null ? 0 : scaleType.bytes(scaleElements);
    }
}
