package io.nccl4j.benchmarks.layer;

import io.nccl4j.ep.CombineConfig;
import io.nccl4j.ep.CombineRecipe;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.nccl.DataType;

/** What a token is on its way: as it is, or quantised. */
public enum Payload {
    /** Rows as they are, both ways. */
    NONE(DispatchRecipe.NONE, CombineRecipe.NONE),
    /** The sender turns bfloat16 into float8 (e4m3) with a float scale per 128 elements; plain on the way home. */
    FP8(DispatchRecipe.DS_FP8E3M4, CombineRecipe.NONE),
    /** The caller has quantised to float8 (e4m3) with a float scale per 128 elements; plain on the way home. */
    FORWARD(DispatchRecipe.QUANT_FWD, CombineRecipe.NONE),
    /** Plain on the way out; 4-bit floats with an e4m3 scale per 16 elements on the way home. */
    NVFP4(DispatchRecipe.NONE, CombineRecipe.NVFP4);

    private static final int FP8_BLOCK = 128;
    private static final int FP4_BLOCK = 16;

    private final DispatchRecipe dispatch;
    private final CombineRecipe combine;

    Payload(DispatchRecipe dispatch, CombineRecipe combine) {
        this.dispatch = dispatch;
        this.combine = combine;
    }

    DispatchConfig dispatchConfig() {
        return DispatchConfig.defaults().recipe(dispatch);
    }

    CombineConfig combineConfig() {
        return CombineConfig.defaults().recipe(combine);
    }

    /** Whether dispatch takes scales from the caller. */
    boolean sendsScales() {
        return dispatch == DispatchRecipe.QUANT_FWD;
    }

    /** Whether rows arrive as float8 with scales. */
    boolean receivesScales() {
        return dispatch != DispatchRecipe.NONE;
    }

    /** Scales of a row that travels as float8. */
    static int scales(int hidden) {
        return hidden / FP8_BLOCK;
    }

    /** Bytes of a dispatched row and its scales. */
    long dispatchBytes(int hidden, DataType type) {
        return receivesScales() ? hidden + (long) scales(hidden) * Float.BYTES : type.bytes(hidden);
    }

    /** Bytes of a row on the way home, and its scales. */
    long combineBytes(int hidden, DataType type) {
        return combine == CombineRecipe.NVFP4 ? hidden / 2 + hidden / FP4_BLOCK : type.bytes(hidden);
    }
}
