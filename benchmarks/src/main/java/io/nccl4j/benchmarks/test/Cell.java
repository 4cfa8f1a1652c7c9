package io.nccl4j.benchmarks.test;

import io.nccl4j.Backend;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.ep.Algorithm;
import io.nccl4j.ep.CombineRecipe;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.ep.PassDirection;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** One cell of the matrix. */
record Cell(Shape shape, Wire wire, Budget budget, RunMode mode, PassDirection direction) {

    /** The whole matrix, or the part that belongs to an algorithm. */
    static List<Cell> matrix(@Nullable Algorithm only) {
        List<Cell> cells = new ArrayList<>();
        for (Shape shape : Shape.values()) {
            for (Wire wire : Wire.values()) {
                for (Budget budget : shape.isLowLatency() ? new Budget[]{Budget.WORST_CASE} : Budget.values()) {
                    for (RunMode mode : RunMode.values()) {
                        for (PassDirection direction : PassDirection.values()) {
                            if (only == null || shape.algorithm() == only) {
                                cells.add(new Cell(shape, wire, budget, mode, direction));
                            }
                        }
                    }
                }
            }
        }
        return cells;
    }

    /** Why a backend cannot show that this is right, or null if it can. */
    @Nullable
    String untestable(Backend backend) {
        return backend == Backend.NATIVE && wire.combineRecipe() == CombineRecipe.NVFP4
                ? "the device's approximate reciprocals have no exact reference"
                : impossible();
    }

    /** Lets the emulator play a device that has what this needs. */
    void prepare(Backend backend) {
        if (backend == Backend.EMULATOR) {
            Emulator.options().computeCapability(wire.combineRecipe() == CombineRecipe.NVFP4 ? 100 : 90);
        }
    }

    /** Why NCCL EP has no such thing, or null if it has. */
    private @Nullable String impossible() {
        if (shape.isLowLatency() && direction == PassDirection.BACKWARD) {
            return "low latency has no backward pass";
        }
        if (!shape.isLowLatency() && mode == RunMode.STAGED) {
            return "high throughput has no separate send half";
        }
        if (!shape.isLowLatency()
                && (wire.recipe() == DispatchRecipe.DS_FP8E3M4 || wire.combineRecipe() != CombineRecipe.NONE)) {
            return "high throughput does not quantise";
        }
        if (budget == Budget.COUNTED && mode == RunMode.GRAPH) {
            return "without a budget dispatch reads counts on the host, which cannot be captured";
        }
        return null;
    }

    @Override
    public String toString() {
        String name = String.join(" ", shape.name().replaceFirst("_", " "), wire.name(), wire.recipeName(),
                budget.name(),
                mode.name(), direction.name());
        return name.toLowerCase(Locale.ROOT);
    }
}
