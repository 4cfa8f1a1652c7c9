package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpCombineInputs_t;
import org.jspecify.annotations.Nullable;

/**
 * The rows that the experts of a rank hand back, {@code ncclEpCombineInputs_t}: rows in the places where dispatch put
 * theirs. Made once, not in each step.
 */
public final class CombineInputs extends EpStruct {
    private final EpTensor tokens;
    private final @Nullable EpTensor weights;
    private final @Nullable EpTensor scales;

    private CombineInputs(EpTensor tokens, @Nullable EpTensor weights, @Nullable EpTensor scales) {
        super(ncclEpCombineInputs_t.layout(), NcclEp.NCCL_EP_COMBINE_INPUTS_V2_SIZE(), tokens, weights, scales);
        this.tokens = tokens;
        this.weights = weights;
        this.scales = scales;
        ncclEpCombineInputs_t.tokens(struct(), pointer(tokens));
        ncclEpCombineInputs_t.topk_weights(struct(), pointer(weights));
        ncclEpCombineInputs_t.scales(struct(), pointer(scales));
    }

    /**
     * {@return the struct with tokens only: the forward pass}
     *
     * @param tokens {@code tokens}, rows first
     */
    public static CombineInputs of(EpTensor tokens) {
        return of(tokens, null, null);
    }

    /**
     * {@return the struct with tokens and gradients of the weights: the backward pass of high throughput}
     *
     * @param tokens {@code tokens}, rows first
     * @param weights {@code topk_weights}, float32; null for none
     */
    public static CombineInputs of(EpTensor tokens, @Nullable EpTensor weights) {
        return of(tokens, weights, null);
    }

    /**
     * {@return the struct with all fields}
     *
     * @param tokens expert outputs; with windows in the modes that duplicate rows, they are changed
     * @param weights float32 gradients of the weights, {@code [rows, topK]} in FLAT, {@code [rows]} in EXPERT_MAJOR:
     *     needed in the backward pass, else null
     * @param scales float32, one per row: needed by {@link CombineRecipe#NVFP4}, else null
     */
    public static CombineInputs of(EpTensor tokens, @Nullable EpTensor weights, @Nullable EpTensor scales) {
        return new CombineInputs(tokens, weights, scales);
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
