package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;

/** Quantisation of dispatch, {@code ncclEpDispQuant_t}. */
public enum DispatchRecipe {
    /** Rows travel as they are; bfloat16, float16 or float32. */
    NONE(NcclEp.NCCL_EP_DISP_QUANT_NONE()),
    /** The caller has quantised: token rows and their scale rows travel together, byte for byte. */
    QUANT_FWD(NcclEp.NCCL_EP_DISP_QUANT_FWD()),
    /** Bfloat16 rows become float8 (e4m3) with a float32 scale per 128 elements. Low latency only. */
    DS_FP8E3M4(NcclEp.NCCL_EP_DISP_QUANT_DS_FP8E3M4());

    private final int code;

    DispatchRecipe(int code) {
        this.code = code;
    }

    int code() {
        return code;
    }
}
