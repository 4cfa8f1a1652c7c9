package io.nccl4j.benchmarks.patterns;

import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.testing.LayerKind;

/**
 * The expert layers of a model.
 *
 * @param experts over all ranks
 * @param topK experts of a token
 * @param layers of a step
 */
record PatternShape(int experts, int topK, int hidden, int layers) {

    /** The models whose decode steps are measured. */
    enum Model {
        /** DeepSeek-V3. */
        DEEPSEEK_V3(new PatternShape(256, 8, 7168, 58)),
        /** Qwen3-30B-A3B. */
        QWEN3_30B_A3B(new PatternShape(128, 8, 2048, 48));

        private final PatternShape shape;

        Model(PatternShape shape) {
            this.shape = shape;
        }

        PatternShape shape() {
            return shape;
        }
    }

    PatternShape withLayers(int count) {
        return new PatternShape(experts, topK, hidden, count);
    }

    /** One of its layers. */
    LayerShape layer(int ranks, int tokens) {
        return LayerShape.bfloat16(LayerKind.LL_EXPERT_MAJOR, ranks, experts, topK, tokens, hidden);
    }

    @Override
    public String toString() {
        return experts + " experts, hidden " + hidden + ", " + layers + " layers";
    }
}
