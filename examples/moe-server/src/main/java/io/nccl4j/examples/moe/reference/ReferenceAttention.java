package io.nccl4j.examples.moe.reference;

import io.nccl4j.examples.moe.model.ModelConfig;
import io.nccl4j.examples.moe.weights.WeightNames;
import java.util.Arrays;

/** Grouped-query attention of one token over those before it. */
final class ReferenceAttention {
    private final ModelConfig model;
    private final float[] rotations;
    private final TensorReader weights;

    /** Keys and values by layer, position and head. */
    record Cache(float[][][][] keys, float[][][][] values) {
    }

    ReferenceAttention(ModelConfig model, float[] rotations, TensorReader weights) {
        this.model = model;
        this.rotations = rotations;
        this.weights = weights;
    }

    Cache newCache(int positions) {
        return new Cache(new float[model.layers()][positions][model.kvHeads()][],
                new float[model.layers()][positions][model.kvHeads()][]);
    }

    float[] apply(int layer, int position, float[] x, Cache cache) {
        int size = model.headSize();
        float[][] queries = heads(layer, "q", x, model.heads());
        float[][] keys = heads(layer, "k", x, model.kvHeads());
        float[] queryNorm = weights.read(WeightNames.layer(layer, "self_attn.q_norm"), size);
        float[] keyNorm = weights.read(WeightNames.layer(layer, "self_attn.k_norm"), size);
        for (int head = 0; head < model.kvHeads(); head++) {
            keys[head] = rotate(Arithmetic.norm(keys[head], keyNorm, model.epsilon()), position);
        }
        cache.keys()[layer][position] = keys;
        cache.values()[layer][position] = heads(layer, "v", x, model.kvHeads());
        float[] joined = new float[model.queryWidth()];
        for (int head = 0; head < model.heads(); head++) {
            float[] query = rotate(Arithmetic.norm(queries[head], queryNorm, model.epsilon()), position);
            int shared = head / (model.heads() / model.kvHeads());
            float[] out = attend(query, cache.keys()[layer], cache.values()[layer], shared, position);
            System.arraycopy(out, 0, joined, head * size, size);
        }
        float[] weight = weights.read(WeightNames.layer(layer, "self_attn.o_proj"), model.hidden(), model.queryWidth());
        return Arithmetic.bf16(Arithmetic.product(joined, weight, model.hidden()));
    }

    private float[][] heads(int layer, String which, float[] x, int count) {
        int width = count * model.headSize();
        float[] weight = weights.read(WeightNames.layer(layer, "self_attn." + which + "_proj"), width, model.hidden());
        float[] all = Arithmetic.bf16(Arithmetic.product(x, weight, width));
        float[][] heads = new float[count][];
        for (int head = 0; head < count; head++) {
            heads[head] = Arrays.copyOfRange(all, head * model.headSize(), (head + 1) * model.headSize());
        }
        return heads;
    }

    private float[] rotate(float[] x, int position) {
        int pairs = x.length / 2;
        float[] out = new float[x.length];
        for (int i = 0; i < pairs; i++) {
            float cosine = rotations[position * x.length + i];
            float sine = rotations[position * x.length + pairs + i];
            out[i] = Arithmetic.bf16(x[i] * cosine - x[i + pairs] * sine);
            out[i + pairs] = Arithmetic.bf16(x[i + pairs] * cosine + x[i] * sine);
        }
        return out;
    }

    private float[] attend(float[] query, float[][][] keys, float[][][] values, int head, int position) {
        float[] weights = new float[position + 1];
        float greatest = Float.NEGATIVE_INFINITY;
        for (int i = 0; i <= position; i++) {
            weights[i] = Arithmetic.dot(query, keys[i][head], 0) * (1.0f / (float) Math.sqrt(query.length));
            greatest = Math.max(greatest, weights[i]);
        }
        float total = 0;
        for (int i = 0; i <= position; i++) {
            weights[i] = Arithmetic.exp(weights[i] - greatest);
            total += weights[i];
        }
        float[] out = new float[query.length];
        for (int element = 0; element < out.length; element++) {
            float sum = 0;
            for (int i = 0; i <= position; i++) {
                sum += weights[i] * values[i][head][element];
            }
            out[element] = Arithmetic.bf16(sum / total);
        }
        return out;
    }
}
