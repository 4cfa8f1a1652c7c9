package io.nccl4j.benchmarks.demo;

import java.util.SplittableRandom;

/**
 * Chooses the experts of a token: softmax over {@code W x} for a random matrix {@code W [experts, hidden]}, the top-k
 * of it, weights scaled to a sum of one. Among equals the lower expert wins.
 *
 * <p>To try another router, change {@link #route}. It runs on the host, in stream order, as a part of the step.
 */
final class Router {
    private final int topK;
    private final float[][] matrix;

    Router(int experts, int hidden, int topK, SplittableRandom random) {
        this.topK = topK;
        matrix = new float[experts][hidden];
        double spread = 2 / Math.sqrt(hidden);
        for (float[] row : matrix) {
            for (int column = 0; column < hidden; column++) {
                row[column] = (float) random.nextDouble(-spread, spread);
            }
        }
    }

    /**
     * Routes one token.
     *
     * @param token its elements
     * @param experts receives the chosen experts, best first
     * @param weights receives their weights
     */
    void route(float[] token, int[] experts, float[] weights) {
        float[] scores = new float[matrix.length];
        for (int expert = 0; expert < scores.length; expert++) {
            scores[expert] = product(matrix[expert], token);
        }
        float best = Float.NEGATIVE_INFINITY;
        float sum = 0;
        for (int k = 0; k < topK; k++) {
            int chosen = 0;
            for (int expert = 1; expert < scores.length; expert++) {
                chosen = scores[expert] > scores[chosen] ? expert : chosen;
            }
            best = k == 0 ? scores[chosen] : best;
            experts[k] = chosen;
            // Softmax: the terms of experts that were not chosen cancel out when the weights are scaled.
            weights[k] = (float) StrictMath.exp(scores[chosen] - best);
            sum += weights[k];
            scores[chosen] = Float.NEGATIVE_INFINITY;
        }
        for (int k = 0; k < topK; k++) {
            weights[k] /= sum;
        }
    }

    private static float product(float[] row, float[] token) {
        float sum = 0;
        for (int column = 0; column < row.length; column++) {
            sum += row[column] * token[column];
        }
        return sum;
    }
}
