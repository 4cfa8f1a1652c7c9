package io.nccl4j.benchmarks.demo;

import io.nccl4j.testing.ExpertFunction;
import java.util.SplittableRandom;

/**
 * The function of the experts of one layer: an affine map of each element, {@code scale[expert] * x +
 * shift[expert][column]}.
 *
 * <p>To try another function, change {@link #apply} and, in the same way, {@link #applyExactly}. The demo calls
 * {@link #apply} in two places: in the experts' stage of the running step, on rows that came through dispatch, and in
 * the reference, on rows that did not.
 */
final class AffineExperts implements ExpertFunction {
    private final float[] scale;
    private final float[][] shift;

    AffineExperts(int experts, int hidden, SplittableRandom random) {
        scale = new float[experts];
        shift = new float[experts][hidden];
        for (int expert = 0; expert < experts; expert++) {
            scale[expert] = (float) random.nextDouble(0.5, 1.5);
            for (int column = 0; column < hidden; column++) {
                shift[expert][column] = (float) random.nextDouble(-0.25, 0.25);
            }
        }
    }

    @Override
    public float apply(int expert, int column, float x) {
        return Math.fma(scale[expert], x, shift[expert][column]);
    }

    /** The same without rounding, as far as {@code double} goes: what errors are measured against. */
    double applyExactly(int expert, int column, double x) {
        return (double) scale[expert] * x + shift[expert][column];
    }
}
