package io.nccl4j.benchmarks.test;

import io.nccl4j.Backend;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.ep.CombineRecipe;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.ep.PassDirection;
import io.nccl4j.testing.LayerKind;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** One cell of the matrix. */
record Cell(LayerKind shape, Wire wire, Budget budget, RunMode mode, PassDirection direction, Setting setting) {

    /** The part of the matrix that belongs to some kinds of layers. */
    static List<Cell> matrix(List<LayerKind> kinds) {
        List<Cell> cells = new ArrayList<>();
        for (Setting setting : Setting.values()) {
            for (LayerKind shape : kinds) {
                if (setting.suits(shape)) {
                    add(cells, shape, setting);
                }
            }
        }
        return cells;
    }

    /** The cells of a shape; settings beyond the standard one without those that NCCL EP has not. */
    private static void add(List<Cell> cells, LayerKind shape, Setting setting) {
        for (Wire wire : Wire.values()) {
            for (Budget budget : shape.isLowLatency() ? new Budget[]{Budget.WORST_CASE} : Budget.values()) {
                for (RunMode mode : RunMode.values()) {
                    for (PassDirection direction : PassDirection.values()) {
                        Cell cell = new Cell(shape, wire, budget, mode, direction, setting);
                        if (setting == Setting.STANDARD || cell.impossible() == null) {
                            cells.add(cell);
                        }
                    }
                }
            }
        }
    }

    /** Why a backend cannot show that this is right, or null if it can. */
    @Nullable
    String untestable(Backend backend) {
        String variable = setting.variable();
        if (backend == Backend.NATIVE && variable != null && !"1".equals(System.getenv(variable))) {
            return variable + "=1 is not set";
        }
        return backend == Backend.NATIVE && wire.combineRecipe() == CombineRecipe.NVFP4
                ? "the device's approximate reciprocals have no exact reference"
                : impossible();
    }

    /** Lets the emulator play a device that has what this needs. */
    void prepare(Backend backend) {
        if (backend == Backend.EMULATOR) {
            Emulator.options().computeCapability(wire.combineRecipe() == CombineRecipe.NVFP4 ? 100 : 90);
            for (Setting other : Setting.values()) {
                if (other.variable() != null) {
                    Emulator.environment(other.variable(), other == setting ? "1" : null);
                }
            }
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
                budget.name(), mode.name(), direction.name());
        return (setting == Setting.STANDARD ? name : name + " " + setting).toLowerCase(Locale.ROOT);
    }
}
