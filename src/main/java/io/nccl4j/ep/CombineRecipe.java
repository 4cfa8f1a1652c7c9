package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;

/** Quantisation of combine, {@code ncclEpCombQuant_t}. */
public enum CombineRecipe {
    /** Rows travel as they are; bfloat16, float16 or float32. */
    NONE(NcclEp.NCCL_EP_COMB_QUANT_NONE()),
    /**
     * Bfloat16 rows travel as 4-bit floats with scales. Low latency, on devices that have the format; experimental in
     * NCCL EP.
    */
    NVFP4(NcclEp.NCCL_EP_COMB_QUANT_NVFP4());

    private final int code;

    CombineRecipe(int code) {
        this.code = code;
    }

    int code() {
        return code;
    }
}
