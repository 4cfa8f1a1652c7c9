package io.nccl4j.examples.moe.emulated;

import static io.nccl4j.examples.moe.emulated.Elements.exp;
import static io.nccl4j.examples.moe.emulated.Elements.f32;
import static io.nccl4j.examples.moe.emulated.Elements.i32;
import static io.nccl4j.examples.moe.emulated.Elements.i64;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.emulator.KernelLaunch;
import io.nccl4j.examples.moe.weights.WeightHash;
import java.lang.foreign.MemorySegment;

/** The router's choice of experts and the sampler's of tokens. */
final class EmulatedChoice {
    private EmulatedChoice() {
    }

    /** rows, logits, slots, experts, top-k, renormalise, routing, weights. */
    static void route(KernelLaunch launch) {
        int rows = launch.getInt(0);
        int experts = launch.getInt(3);
        int topK = launch.getInt(4);
        boolean renormalise = launch.getInt(5) != 0;
        MemorySegment logits = launch.memory(1, JAVA_FLOAT, (long) rows * experts);
        MemorySegment slots = launch.memory(2, JAVA_INT, rows);
        MemorySegment routing = launch.memory(6, JAVA_LONG, (long) rows * topK);
        MemorySegment weights = launch.memory(7, JAVA_FLOAT, (long) rows * topK);
        for (int row = 0; row < rows; row++) {
            float[] probabilities = new float[experts];
            float total = exponentials(logits, (long) row * experts, probabilities);
            float[] chosen = new float[topK];
            float sum = 0;
            for (int k = 0; k < topK; k++) {
                int best = best(probabilities);
                i64(routing, (long) row * topK + k, i32(slots, row) < 0 ? -1 : best);
                chosen[k] = probabilities[best] / total;
                sum += chosen[k];
                probabilities[best] = -1;
            }
            for (int k = 0; k < topK; k++) {
                f32(weights, (long) row * topK + k, renormalise ? chosen[k] / sum : chosen[k]);
            }
        }
    }

    /** Fills in what softmax divides by the sum that is returned. */
    private static float exponentials(MemorySegment logits, long first, float[] out) {
        float greatest = Float.NEGATIVE_INFINITY;
        for (int i = 0; i < out.length; i++) {
            out[i] = f32(logits, first + i);
            greatest = Math.max(greatest, out[i]);
        }
        float total = 0;
        for (int i = 0; i < out.length; i++) {
            out[i] = exp(out[i] - greatest);
            total += out[i];
        }
        return total;
    }

    private static int best(float[] values) {
        int best = 0;
        for (int i = 1; i < values.length; i++) {
            if (values[i] > values[best]) {
                best = i;
            }
        }
        return best;
    }

    /** rows, logits, vocabulary, slots, positions, temperatures, seeds, sampled. */
    static void sample(KernelLaunch launch) {
        int rows = launch.getInt(0);
        int vocabulary = launch.getInt(2);
        MemorySegment logits = launch.memory(1, JAVA_FLOAT, (long) rows * vocabulary);
        MemorySegment slots = launch.memory(3, JAVA_INT, rows);
        MemorySegment positions = launch.memory(4, JAVA_INT, rows);
        MemorySegment temperatures = launch.memory(5, JAVA_FLOAT, rows);
        MemorySegment seeds = launch.memory(6, JAVA_LONG, rows);
        MemorySegment sampled = launch.memory(7, JAVA_INT, rows);
        for (int row = 0; row < rows; row++) {
            if (i32(slots, row) < 0) {
                i32(sampled, row, -1);
                continue;
            }
            float temperature = f32(temperatures, row);
            long seed = WeightHash.mix(i64(seeds, row), i32(positions, row));
            float[] values = new float[vocabulary];
            for (int token = 0; token < vocabulary; token++) {
                float logit = f32(logits, (long) row * vocabulary + token);
                values[token] = temperature > 0 ? logit / temperature + noise(seed, token) : logit;
            }
            i32(sampled, row, best(values));
        }
    }

    /** Gumbel's: the greatest of logits with it is a draw from their softmax. */
    private static float noise(long seed, int token) {
        float u = ((WeightHash.mix(seed, token) >>> 40) + 0.5f) * (1.0f / 16_777_216.0f);
        return -(float) StrictMath.log(-(float) StrictMath.log(u));
    }
}
