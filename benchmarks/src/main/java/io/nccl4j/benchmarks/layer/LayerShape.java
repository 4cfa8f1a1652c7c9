package io.nccl4j.benchmarks.layer;

import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.CombineRecipe;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.Routing;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.LayerKind;
import java.util.Arrays;
import java.util.SplittableRandom;

/**
 * The sizes of a layer.
 *
 * @param kind algorithm and layout
 * @param sizes that all ranks agree on
 * @param rows their type, length and recipes
 */
public record LayerShape(LayerKind kind, EpShape sizes, BufferConfig rows) {
    private static final int FP4_BLOCK = 16;

    /** A layer whose rows are bfloat16, both ways. */
    public static LayerShape bfloat16(LayerKind kind, int ranks, int experts, int topK, int tokens, int hidden) {
        return new LayerShape(kind, new EpShape(ranks, experts, topK, tokens),
                BufferConfig.of(hidden, DataType.BFLOAT16));
    }

    /** Bytes of a dispatched row and its scales. */
    public long dispatchBytes() {
        DataType scales = rows.scaleType();
        return rows.receivedType().bytes(rows.tokenElements())
                + (scales == null ? 0 : scales.bytes(rows.scaleElements()));
    }

    /** Bytes of a row on the way home, and its scales. */
    public long combineBytes() {
        return rows.combineRecipe() == CombineRecipe.NVFP4
                ? rows.hidden() / 2 + rows.hidden() / FP4_BLOCK
                : rows.type().bytes(rows.hidden());
    }

    /** The group for it. */
    public EpGroupConfig groupConfig() {
        return kind.config(sizes, (int) Math.max(dispatchBytes(), rows.type().bytes(rows.hidden())));
    }

    /**
     * A routing to as many different experts as top-k says, uniformly at random. Every rank draws the same from the
     * same seed, so that each knows what it will receive.
     *
     * @param full whether all ranks have as many tokens as there is room for; else each has between half of that
     *     and all
     */
    public Routing routing(boolean full, long seed) {
        return RoutingKind.UNIFORM.routing(sizes, tokens(full, seed), new SplittableRandom(seed));
    }

    /** The same routing with tokens and weights; rows without a recipe only. */
    public EpCase batch(boolean full, long seed) {
        return EpCase.of(sizes, RoutingKind.UNIFORM, tokens(full, seed), NumberFormat.valueOf(rows.type().name()),
                rows.hidden(), seed);
    }

    private int[] tokens(boolean full, long seed) {
        int[] tokens = new int[sizes.ranks()];
        SplittableRandom random = new SplittableRandom(~seed);
        Arrays.setAll(tokens,
                rank -> full ? sizes.maxTokens() : random.nextInt((sizes.maxTokens() + 1) / 2, sizes.maxTokens() + 1));
        return tokens;
    }
}
