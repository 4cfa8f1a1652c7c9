package io.nccl4j.examples.moe.reference;

import io.nccl4j.examples.moe.model.ModelConfig;
import io.nccl4j.examples.moe.weights.WeightNames;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/**
 * The router, the chosen experts and their weighted sum, which NCCL EP makes with fused multiply-adds in the order of
 * choice.
 */
final class ReferenceExperts {
    private final ModelConfig model;
    private final TensorReader weights;

    ReferenceExperts(ModelConfig model, TensorReader weights) {
        this.model = model;
        this.weights = weights;
    }

    float[] apply(int layer, float[] x) {
        float[] router = weights.read(WeightNames.layer(layer, "mlp.gate"), model.experts(), model.hidden());
        float[] probabilities = softmax(Arithmetic.product(x, router, model.experts()));
        List<Integer> chosen = IntStream
                .range(0, model.experts()).boxed().sorted(Comparator
                        .<Integer>comparingDouble(expert -> -probabilities[expert]).thenComparingInt(expert -> expert))
                .limit(model.topK()).toList();
        float sum = 0;
        for (int expert : chosen) {
            sum += probabilities[expert];
        }
        float[] out = new float[x.length];
        for (int expert : chosen) {
            float weight = model.renormalise() ? probabilities[expert] / sum : probabilities[expert];
            float[] row = expert(layer, expert, x);
            for (int i = 0; i < out.length; i++) {
                out[i] = Math.fma(row[i], weight, out[i]);
            }
        }
        return Arithmetic.bf16(out);
    }

    private static float[] softmax(float[] logits) {
        float greatest = Float.NEGATIVE_INFINITY;
        for (float logit : logits) {
            greatest = Math.max(greatest, logit);
        }
        float total = 0;
        float[] out = new float[logits.length];
        for (int i = 0; i < out.length; i++) {
            out[i] = Arithmetic.exp(logits[i] - greatest);
            total += out[i];
        }
        for (int i = 0; i < out.length; i++) {
            out[i] /= total;
        }
        return out;
    }

    private float[] expert(int layer, int expert, float[] x) {
        int width = model.expertWidth();
        float[] gate = Arithmetic.product(x, read(layer, expert, "gate_proj", width, model.hidden()), width);
        float[] up = Arithmetic.product(x, read(layer, expert, "up_proj", width, model.hidden()), width);
        float[] inner = new float[width];
        for (int i = 0; i < width; i++) {
            inner[i] = Arithmetic.bf16(gate[i] / (1.0f + Arithmetic.exp(-gate[i])) * up[i]);
        }
        float[] down = read(layer, expert, "down_proj", model.hidden(), width);
        return Arithmetic.bf16(Arithmetic.product(inner, down, model.hidden()));
    }

    private float[] read(int layer, int expert, String part, long... shape) {
        return weights.read(WeightNames.expert(layer, expert, part), shape);
    }
}
