package io.nccl4j.examples.moe.weights;

/** Names of the tensors of a Qwen3-MoE checkpoint as Hugging Face publishes it. */
public final class WeightNames {
    public static final String EMBEDDING = "model.embed_tokens.weight";
    public static final String FINAL_NORM = "model.norm.weight";
    public static final String HEAD = "lm_head.weight";

    private WeightNames() {
    }

    public static String layer(int layer, String part) {
        return "model.layers." + layer + "." + part + ".weight";
    }

    public static String expert(int layer, int expert, String part) {
        return layer(layer, "mlp.experts." + expert + "." + part);
    }
}
