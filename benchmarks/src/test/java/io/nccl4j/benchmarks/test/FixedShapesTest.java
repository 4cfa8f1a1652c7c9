package io.nccl4j.benchmarks.test;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.Backend;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.testing.LayerKind;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** The matrix as it runs on the real library: one shape for each kind of layer, whatever the seed. */
class FixedShapesTest {
    private static final List<Cell> CELLS = Cell.matrix(List.of(LayerKind.values()));

    @Test
    void aKindOfLayerHasOneShape() {
        Map<String, String> shapes = new HashMap<>();
        for (Cell cell : CELLS) {
            for (long seed = 0; seed < 5; seed++) {
                CellCase of = new Matrix(CELLS, 2, 1, 1, seed, true).draw(cell, 0);
                String shape = of.shape() + ", " + of.rows().hidden() + ", " + of.rows().routingType();
                assertThat(shapes.computeIfAbsent(cell.shape().name(), kind -> shape)).isEqualTo(shape);
            }
        }
        assertThat(shapes).hasSize(LayerKind.values().length);
    }

    @Test
    void casesOfItAreRight() {
        Emulator.use();
        // Every eleventh: all kinds, types and modes come up among them.
        List<Cell> some = IntStream.range(0, CELLS.size()).filter(i -> i % 11 == 0).mapToObj(CELLS::get).toList();
        List<Outcome> outcomes = new ArrayList<>();
        new ThreadRunner(Backend.EMULATOR, false).run(new Matrix(some, 2, 1, 1, 3, true), outcomes::add);
        assertThat(outcomes).hasSize(some.size()).noneMatch(outcome -> outcome.status() == Outcome.Status.FAIL)
                .anyMatch(outcome -> outcome.status() == Outcome.Status.PASS);
    }
}
