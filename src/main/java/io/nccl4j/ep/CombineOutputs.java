package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpCombineOutputs_t;
import org.jspecify.annotations.Nullable;

/**
 * The rows that come home, {@code ncclEpCombineOutputs_t}. T is the number of rows of the last update. Made once, not
 * in each step.
 */
public final class CombineOutputs extends EpStruct {
    private final EpTensor tokens;
    private final @Nullable EpTensor weights;

    private CombineOutputs(EpTensor tokens, @Nullable EpTensor weights) {
        super(ncclEpCombineOutputs_t.layout(), NcclEp.NCCL_EP_COMBINE_OUTPUTS_V1_SIZE(), tokens, weights);
        this.tokens = tokens;
        this.weights = weights;
        ncclEpCombineOutputs_t.tokens(struct(), pointer(tokens));
        ncclEpCombineOutputs_t.topk_weights(struct(), pointer(weights));
    }

    /**
     * {@return the struct with tokens only: RANK_MAJOR, and the forward pass of high throughput}
     *
     * @param tokens {@code tokens}, rows first
     */
    public static CombineOutputs of(EpTensor tokens) {
        return of(tokens, null);
    }

    /**
     * {@return the struct with all fields}
     *
     * @param tokens {@code [T, hidden]}
     * @param weights {@code [T, topK]} float32. EXPERT_MAJOR of low latency reads the routing weights here, so it is an
     *     <em>input</em>; the backward pass of high throughput writes the gradients of the weights; else null
     */
    public static CombineOutputs of(EpTensor tokens, @Nullable EpTensor weights) {
        return new CombineOutputs(tokens, weights);
    }

    /** {@return {@code tokens}} */
    public EpTensor tokens() {
        return tokens;
    }

    /** {@return {@code topk_weights}} */
    public @Nullable EpTensor weights() {
        return weights;
    }
}
