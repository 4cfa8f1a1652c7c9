package io.nccl4j.benchmarks.test;

import io.nccl4j.Backend;
import io.nccl4j.benchmarks.ranks.RankThreads;
import io.nccl4j.cuda.CudaDevice;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * Ranks as threads of this process, anew for every case.
 *
 * @param backend what they run on
 * @param shareDevices whether several may be on one device
 */
record ThreadRunner(Backend backend, boolean shareDevices) implements Matrix.Runner {
    private static final Duration LIMIT = Duration.ofMinutes(3);

    @Override
    public void run(Matrix matrix, Consumer<Outcome> report) {
        for (Cell cell : matrix.cells()) {
            report.accept(run(matrix, cell));
        }
    }

    private Outcome run(Matrix matrix, Cell cell) {
        String untestable = cell.untestable(backend);
        if (untestable != null) {
            return Matrix.skipped(cell, untestable);
        }
        cell.prepare(backend);
        for (int i = 0; i < matrix.cases(); i++) {
            CellCase of = matrix.draw(cell, i);
            Optional<String> failure = run(matrix, of);
            if (failure.isPresent()) {
                return Matrix.failed(cell, failure.get() + "; " + of);
            }
        }
        return matrix.passed(cell);
    }

    private Optional<String> run(Matrix matrix, CellCase of) {
        try {
            List<Optional<String>> ranks = RankThreads.run(backend, matrix.ranks(), shareDevices, LIMIT,
                    rank -> Optional.ofNullable(CaseRun.run(of, rank)));
            return ranks.stream().flatMap(Optional::stream).findFirst();
        } catch (RuntimeException e) {
            // A device that has failed would fail all that comes after.
            for (int device = 0; device < Math.min(matrix.ranks(), CudaDevice.count()); device++) {
                CudaDevice.of(device).reset();
            }
            return Optional.of(Objects.toString(e.getMessage(), e.toString()));
        }
    }
}
