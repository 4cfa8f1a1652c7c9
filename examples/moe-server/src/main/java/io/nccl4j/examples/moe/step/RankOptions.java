package io.nccl4j.examples.moe.step;

import io.nccl4j.examples.moe.model.CheckpointConfig;
import io.nccl4j.examples.moe.model.ModelConfig;
import io.nccl4j.examples.moe.model.ModelException;
import io.nccl4j.examples.moe.model.ModelLimits;
import io.nccl4j.examples.moe.model.NamedShapes;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * The settings that all ranks must know alike.
 *
 * @param model a named shape, or the folder of a checkpoint
 * @param layers how many of its layers; 0 for all
 * @param seed of the weights of a named shape
 * @param ranks number of ranks
 * @param maxRows most rows of a step on a rank
 * @param slots most sequences on a rank at once
 * @param context most positions of a sequence
 * @param mode how steps are enqueued
 * @param cublas whether dense products are cuBLAS's
 * @param timeoutMillis how long a rank is waited for before it is masked
 */
public record RankOptions(String model, int layers, long seed, int ranks, int maxRows, int slots, int context,
        StepMode mode, boolean cublas, int timeoutMillis) {
    /** Most rows of a step for which the experts' kernels were made. */
    private static final int MOST_ROWS = 128;

    public RankOptions {
        range("--max-rows", maxRows, 1, MOST_ROWS);
        range("--slots", slots, 1, 4096);
        range("--rank-timeout", timeoutMillis, 1, 3_600_000);
    }

    private static void range(String option, int value, int least, int most) {
        if (value < least || value > most) {
            throw new ModelException(option + " " + value + ": must be " + least + " to " + most);
        }
    }

    public boolean isNamedShape() {
        return NamedShapes.contains(model);
    }

    /** Its shape, if it can be served with these options. */
    public ModelConfig config() {
        boolean folder = !isNamedShape() && Files.isDirectory(Path.of(model));
        ModelConfig config = folder ? CheckpointConfig.read(Path.of(model)) : NamedShapes.of(model);
        if (layers != 0) {
            config = config.withLayers(layers);
        }
        ModelLimits.check(config, ranks);
        range("--context", context, 1, config.maxPositions());
        return config;
    }
}
