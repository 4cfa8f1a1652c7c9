package io.nccl4j.examples.moe.weights;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.examples.moe.kernels.ModelKernels;
import org.jspecify.annotations.Nullable;

/** Weights made on the device from a seed: enough to measure a model's shape, and the same on every machine. */
public final class SeededWeights implements WeightSource {
    /** Uniform values of this range have the deviation 0.02 with which such models are initialised. */
    private static final float SCALE = 0.034641016f;
    private static final float NORM_SCALE = 0.1f;

    private final long seed;
    private final @Nullable ModelKernels kernels;

    /** @param kernels null where weights are only read on the host */
    public SeededWeights(long seed, @Nullable ModelKernels kernels) {
        this.seed = seed;
        this.kernels = kernels;
    }

    @Override
    public void load(String name, DeviceMemory target, CudaStream stream, long... shape) {
        if (kernels == null) {
            throw new IllegalStateException("these weights are read on the host only");
        }
        kernels.seedWeights(stream, target, WeightSource.elements(shape), WeightHash.ofName(seed, name), scale(name),
                offset(name));
    }

    @Override
    public short[] read(String name, long... shape) {
        short[] values = new short[Math.toIntExact(WeightSource.elements(shape))];
        long tensor = WeightHash.ofName(seed, name);
        for (int i = 0; i < values.length; i++) {
            values[i] = WeightHash.weight(tensor, i, scale(name), offset(name));
        }
        return values;
    }

    private static boolean isNorm(String name) {
        return name.endsWith("norm.weight");
    }

    private static float scale(String name) {
        return isNorm(name) ? NORM_SCALE : SCALE;
    }

    private static float offset(String name) {
        return isNorm(name) ? 1.0f : 0.0f;
    }

    @Override
    public void close() {
    }
}
