package io.nccl4j.examples.moe.weights;

import io.nccl4j.ep.BFloat16;

/** The hash behind seeded weights and sampling; the kernels have the same one. */
public final class WeightHash {
    private WeightHash() {
    }

    /** 64 well-mixed bits of a seed and an index. */
    public static long mix(long seed, long index) {
        long z = seed + (index + 1) * 0x9E3779B97F4A7C15L;
        z = (z ^ z >>> 30) * 0xBF58476D1CE4E5B9L;
        z = (z ^ z >>> 27) * 0x94D049BB133111EBL;
        return z ^ z >>> 31;
    }

    /** The seed of a tensor: that of the model, stirred with the tensor's name. */
    public static long ofName(long seed, String name) {
        long hash = seed;
        for (int i = 0; i < name.length(); i++) {
            hash = mix(hash, name.charAt(i));
        }
        return hash;
    }

    /** {@code offset + scale * u} with u in [-1, 1), in bfloat16. */
    public static short weight(long seed, long index, float scale, float offset) {
        float u = (mix(seed, index) >>> 40) * (1.0f / 8_388_608.0f) - 1.0f;
        return BFloat16.fromFloat(offset + scale * u);
    }
}
