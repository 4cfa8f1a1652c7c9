package io.nccl4j.benchmarks.test;

import java.util.List;
import java.util.SplittableRandom;
import java.util.function.Consumer;

/**
 * The cells to run.
 *
 * @param cells the cells, in this order
 * @param ranks number of ranks
 * @param teams LSA teams that the ranks are in
 * @param cases random cases per cell
 * @param seed where the cases come from
 * @param fixedShapes whether all cases of a kind of layer have one shape
 */
record Matrix(List<Cell> cells, int ranks, int teams, int cases, long seed, boolean fixedShapes) {

    /** A way to run it, which reports the outcome of each cell as soon as it is known, in order. */
    @FunctionalInterface
    interface Runner {
        void run(Matrix matrix, Consumer<Outcome> report) throws Exception;
    }

    /** A cell's case; it does not depend on what else is run. */
    CellCase draw(Cell cell, int index) {
        SplittableRandom random = new SplittableRandom(seed ^ (long) cell.toString().hashCode() * 0x9e3779b97f4a7c15L);
        return new CellCase(cell, this, random.longs(index + 1L).skip(index).findFirst().orElseThrow());
    }

    static Outcome skipped(Cell cell, String reason) {
        return new Outcome(cell.toString(), Outcome.Status.SKIP, reason);
    }

    Outcome passed(Cell cell) {
        return new Outcome(cell.toString(), Outcome.Status.PASS, cases + (cases == 1 ? " case" : " cases"));
    }

    static Outcome failed(Cell cell, String reason) {
        return new Outcome(cell.toString(), Outcome.Status.FAIL, reason);
    }
}
