package io.nccl4j.examples.moe.reference;

import io.nccl4j.ep.BFloat16;
import io.nccl4j.examples.moe.model.ModelConfig;
import io.nccl4j.examples.moe.model.RotaryTable;
import io.nccl4j.examples.moe.weights.WeightNames;
import io.nccl4j.examples.moe.weights.WeightSource;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/**
 * The model in plain Java, one token after the other, without ranks, batches or devices: what the server on the
 * emulator must equal bit by bit. Activations are bfloat16 between the parts and float32 inside of them, as in the
 * kernels.
 */
public final class ReferenceModel {
    private final ModelConfig model;
    private final WeightSource source;
    private final Map<String, float[]> weights = new HashMap<>();
    private final ReferenceAttention attention;
    private final ReferenceExperts experts;

    public ReferenceModel(ModelConfig model, WeightSource source) {
        this.model = model;
        this.source = source;
        this.attention = new ReferenceAttention(model, RotaryTable.of(model, model.maxPositions()), this::weight);
        this.experts = new ReferenceExperts(model, this::weight);
    }

    /** A tensor as floats, read once. */
    private float[] weight(String name, long... shape) {
        return weights.computeIfAbsent(name, key -> {
            short[] bits = source.read(key, shape);
            float[] values = new float[bits.length];
            for (int i = 0; i < bits.length; i++) {
                values[i] = BFloat16.toFloat(bits[i]);
            }
            return values;
        });
    }

    /** The best next tokens, one after the other. */
    public int[] generate(int[] prompt, int count) {
        ReferenceAttention.Cache cache = attention.newCache(prompt.length + count);
        int[] tokens = Arrays.copyOf(prompt, prompt.length + count);
        for (int position = 0; position < tokens.length - 1; position++) {
            float[] logits = logits(tokens[position], position, cache);
            if (position >= prompt.length - 1) {
                tokens[position + 1] = best(logits);
            }
        }
        return Arrays.copyOfRange(tokens, prompt.length, tokens.length);
    }

    private static int best(float[] logits) {
        int best = 0;
        for (int token = 1; token < logits.length; token++) {
            if (logits[token] > logits[best]) {
                best = token;
            }
        }
        return best;
    }

    private float[] logits(int token, int position, ReferenceAttention.Cache cache) {
        int hidden = model.hidden();
        float[] embedding = weight(WeightNames.EMBEDDING, model.vocabulary(), hidden);
        float[] x = Arrays.copyOfRange(embedding, token * hidden, (token + 1) * hidden);
        for (int layer = 0; layer < model.layers(); layer++) {
            float[] before = norm(x, weight(WeightNames.layer(layer, "input_layernorm"), hidden));
            x = add(x, attention.apply(layer, position, before, cache));
            float[] after = norm(x, weight(WeightNames.layer(layer, "post_attention_layernorm"), hidden));
            x = add(x, experts.apply(layer, after));
        }
        float[] last = norm(x, weight(WeightNames.FINAL_NORM, hidden));
        String head = model.tied() ? WeightNames.EMBEDDING : WeightNames.HEAD;
        return Arithmetic.product(last, weight(head, model.vocabulary(), hidden), model.vocabulary());
    }

    private float[] norm(float[] x, float[] weight) {
        return Arithmetic.norm(x, weight, model.epsilon());
    }

    private static float[] add(float[] x, float[] delta) {
        float[] sum = new float[x.length];
        for (int i = 0; i < x.length; i++) {
            sum[i] = Arithmetic.bf16(x[i] + delta[i]);
        }
        return sum;
    }
}
