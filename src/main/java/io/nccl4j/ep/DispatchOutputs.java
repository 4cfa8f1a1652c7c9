package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpDispatchOutputs_t;
import org.jspecify.annotations.Nullable;

/**
 * The rows that a rank receives, {@code ncclEpDispatchOutputs_t}. Shapes are those of the {@link Layout}. Made once,
 * not in each step.
 */
public final class DispatchOutputs extends EpStruct {
    private final EpTensor tokens;
    private final @Nullable EpTensor weights;
    private final @Nullable EpTensor indices;
    private final @Nullable EpTensor scales;

    private DispatchOutputs(EpTensor tokens, @Nullable EpTensor weights, @Nullable EpTensor indices,
            @Nullable EpTensor scales) {
        super(ncclEpDispatchOutputs_t.layout(), NcclEp.NCCL_EP_DISPATCH_OUTPUTS_V1_SIZE(), tokens, weights, indices,
                scales);
        this.tokens = tokens;
        this.weights = weights;
        this.indices = indices;
        this.scales = scales;
        ncclEpDispatchOutputs_t.tokens(struct(), pointer(tokens));
        ncclEpDispatchOutputs_t.topk_weights(struct(), pointer(weights));
        ncclEpDispatchOutputs_t.topk_idx(struct(), pointer(indices));
        ncclEpDispatchOutputs_t.scales(struct(), pointer(scales));
    }

    /**
     * {@return the struct with tokens only: low latency EXPERT_MAJOR, and the backward pass}
     *
     * @param tokens {@code tokens}, rows first
     */
    public static DispatchOutputs of(EpTensor tokens) {
        return of(tokens, null, null, null);
    }

    /**
     * {@return the struct with tokens, and weights and indices where the layout has them}
     *
     * @param tokens {@code tokens}, rows first
     * @param weights {@code topk_weights}, float32; null for none
     * @param indices {@code topk_idx}; null for none
     */
    public static DispatchOutputs of(EpTensor tokens, @Nullable EpTensor weights, @Nullable EpTensor indices) {
        return of(tokens, weights, indices, null);
    }

    /**
     * {@return the struct with all fields}
     *
     * @param tokens the received rows
     * @param weights float32: {@code [ranks, maxTokensPerRank, topK]} in RANK_MAJOR, {@code [rows, topK]} in FLAT,
     *     {@code [rows]} in EXPERT_MAJOR of high throughput; null in EXPERT_MAJOR of low latency and in the backward
     *     pass
     * @param indices int32 {@code [ranks, maxTokensPerRank, topK]} in RANK_MAJOR, int64 {@code [rows, topK]} in FLAT;
     *     null otherwise
     * @param scales a row for each row of tokens with a recipe other than {@link DispatchRecipe#NONE}, else null
     */
    public static DispatchOutputs of(EpTensor tokens, @Nullable EpTensor weights, @Nullable EpTensor indices,
            @Nullable EpTensor scales) {
        return new DispatchOutputs(tokens, weights, indices, scales);
    }

    /** {@return {@code tokens}} */
    public EpTensor tokens() {
        return tokens;
    }

    /** {@return {@code topk_weights}} */
    public @Nullable EpTensor weights() {
        return weights;
    }

    /** {@return {@code topk_idx}} */
    public @Nullable EpTensor indices() {
        return indices;
    }

    /** {@return {@code scales}} */
    public @Nullable EpTensor scales() {
        return scales;
    }
}
