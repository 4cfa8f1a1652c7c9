package io.nccl4j.ep.graph;

import io.nccl4j.ep.CombineRecipe;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.Layout;

/**
 * The values that the capture of a step has fixed: others need another graph. Tokens, weights and routing are not
 * among that.
 *
 * @param tokens T: the graph serves as many tokens or fewer
 * @param layout of what is received
 * @param dispatchRecipe quantisation of dispatch
 * @param combineRecipe quantisation of combine
 */
public record GraphKey(int tokens, Layout layout, DispatchRecipe dispatchRecipe, CombineRecipe combineRecipe) {
    /**
     * {@return the key of a step without quantisation}
     *
     * @param tokens tokens that it is captured for, T
     * @param layout the layout of received rows
     */
    public static GraphKey of(int tokens, Layout layout) {
        return new GraphKey(tokens, layout, DispatchRecipe.NONE, CombineRecipe.NONE);
    }

    /**
     * {@return the key of a step with the layout and the recipes of {@code buffers}}
     *
     * @param tokens tokens that it is captured for, T
     * @param buffers the handle's buffers
     */
    public static GraphKey of(int tokens, EpBuffers buffers) {
        return new GraphKey(tokens, buffers.handle().layout(), buffers.config().dispatchRecipe(),
                buffers.config().combineRecipe());
    }

    /**
     * {@return the same with another T}
     *
     * @param count the number
     */
    public GraphKey withTokens(int count) {
        return new GraphKey(count, layout, dispatchRecipe, combineRecipe);
    }

    /**
     * Whether a graph of this key can serve {@code count} tokens in place of one that is {@code like} another but for
     * T.
     */
    boolean serves(GraphKey like, int count) {
        return tokens >= count && layout == like.layout && dispatchRecipe == like.dispatchRecipe
                && combineRecipe == like.combineRecipe;
    }

    @Override
    public String toString() {
        return layout + " T=" + tokens + (dispatchRecipe == DispatchRecipe.NONE ? "" : " dispatch " + dispatchRecipe)
                + (combineRecipe == CombineRecipe.NONE ? "" : " combine " + combineRecipe);
    }
}
