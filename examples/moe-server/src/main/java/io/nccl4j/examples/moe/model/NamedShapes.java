package io.nccl4j.examples.moe.model;

import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/** Shapes that are served with seeded weights, so that no checkpoint is needed. */
public final class NamedShapes {
    private static final Map<String, ModelConfig> SHAPES = new TreeMap<>(Map.of("tiny",
            new ModelConfig("tiny", 2, 512, 4, 2, 128, 16, 2, 128, true, 512, false, 1e-6f, 1e6, 4096, Set.of()),
            "qwen3-30b-a3b",
            new ModelConfig("qwen3-30b-a3b", 48, 2048, 32, 4, 128, 128, 8, 768, true, 151_936, false, 1e-6f, 1e6,
                    40_960, Set.of()),
            "qwen3-235b-a22b", new ModelConfig("qwen3-235b-a22b", 94, 4096, 64, 4, 128, 128, 8, 1536, true, 151_936,
                    false, 1e-6f, 1e6, 40_960, Set.of())));

    private NamedShapes() {
    }

    public static boolean contains(String name) {
        return SHAPES.containsKey(name);
    }

    public static ModelConfig of(String name) {
        ModelConfig shape = SHAPES.get(name);
        if (shape == null) {
            throw new ModelException("there is no model \"" + name + "\": give the folder of a checkpoint or one of "
                    + String.join(", ", SHAPES.keySet()));
        }
        return shape;
    }
}
