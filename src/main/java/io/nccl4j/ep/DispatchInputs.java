package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpDispatchInputs_t;
import org.jspecify.annotations.Nullable;

/**
 * The rows that a rank dispatches, {@code ncclEpDispatchInputs_t}. T is the number of rows of the last update. Made
 * once, not in each step.
 */
public final class DispatchInputs extends EpStruct {
    private final EpTensor tokens;
    private final @Nullable EpTensor weights;
    private final @Nullable EpTensor scales;

    private DispatchInputs(EpTensor tokens, @Nullable EpTensor weights, @Nullable EpTensor scales) {
        super(ncclEpDispatchInputs_t.layout(), NcclEp.NCCL_EP_DISPATCH_INPUTS_V1_SIZE(), tokens, weights, scales);
        this.tokens = tokens;
        this.weights = weights;
        this.scales = scales;
        ncclEpDispatchInputs_t.tokens(struct(), pointer(tokens));
        ncclEpDispatchInputs_t.topk_weights(struct(), pointer(weights));
        ncclEpDispatchInputs_t.scales(struct(), pointer(scales));
    }

    /**
     * {@return the struct with tokens only: low latency EXPERT_MAJOR, and the backward pass}
     *
     * @param tokens {@code tokens}, rows first
     */
    public static DispatchInputs of(EpTensor tokens) {
        return of(tokens, null, null);
    }

    /**
     * {@return the struct with tokens and routing weights}
     *
     * @param tokens {@code tokens}, rows first
     * @param weights {@code topk_weights}, float32; null for none
     */
    public static DispatchInputs of(EpTensor tokens, @Nullable EpTensor weights) {
        return of(tokens, weights, null);
    }

    /**
     * {@return the struct with all fields}
     *
     * @param tokens {@code [T, hidden]}
     * @param weights {@code [T, topK]} float32: needed by RANK_MAJOR and by the forward pass of high throughput, else
     *     null
     * @param scales {@code [T, scales]}: needed by {@link DispatchRecipe#QUANT_FWD}, else null
     */
    public static DispatchInputs of(EpTensor tokens, @Nullable EpTensor weights, @Nullable EpTensor scales) {
        return new DispatchInputs(tokens, weights, scales);
    }

    /** {@return {@code tokens}} */
    public EpTensor tokens() {
        return tokens;
    }

    /** {@return {@code topk_weights}} */
    public @Nullable EpTensor weights() {
        return weights;
    }

    /** {@return {@code scales}} */
    public @Nullable EpTensor scales() {
        return scales;
    }
}
