package io.nccl4j.benchmarks.test;

import com.google.gson.Gson;
import io.nccl4j.Backend;
import io.nccl4j.benchmarks.Ep;
import io.nccl4j.benchmarks.launch.ProcessRanks;
import io.nccl4j.benchmarks.launch.ThisProgram;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Ranks as processes of this machine, the same for all cases. A rank that fails otherwise than by a difference takes
 * the others with it: its case has failed, and what would have come after is left out.
 *
 * @param backend what they run on
 * @param selection the options that choose the cells
 */
record ProcessRunner(Backend backend, List<String> selection) implements Matrix.Runner {
    private static final Duration LIMIT = Duration.ofMinutes(30);

    @Override
    public void run(Matrix matrix, Consumer<Outcome> report) throws Exception {
        Collector collector = new Collector(matrix, backend, report);
        ProcessRanks.Result result = new ProcessRanks(matrix.ranks(), command(matrix), collector).run(LIMIT);
        collector.end(result);
    }

    private List<String> command(Matrix matrix) {
        List<String> command = ThisProgram.command("test", "--as-rank", "--cases", Integer.toString(matrix.cases()),
                "--seed", Long.toHexString(matrix.seed()), "--backend", backend.name().toLowerCase(Locale.ROOT));
        command.addAll(selection);
        return command;
    }

    /** Puts the ranks' reports together. */
    private static final class Collector implements ProcessRanks.Lines {
        private final Matrix matrix;
        private final Backend backend;
        private final Consumer<Outcome> report;
        private final Map<String, Integer> arrived = new HashMap<>();
        private final Map<Integer, String> failures = new HashMap<>();
        private int cell;
        private @Nullable String error;

        Collector(Matrix matrix, Backend backend, Consumer<Outcome> report) {
            this.matrix = matrix;
            this.backend = backend;
            this.report = report;
        }

        @Override
        public void line(int rank, ProcessRanks.Channel channel, String line) {
            if (channel == ProcessRanks.Channel.ERROR) {
                if (error == null && line.startsWith(Ep.ERROR_PREFIX)) {
                    error = line.substring(Ep.ERROR_PREFIX.length());
                }
                System.err.println("[" + rank + "] " + line);
            } else if (line.startsWith(RankProcess.MARK)) {
                take(new Gson().fromJson(line.substring(RankProcess.MARK.length()), RankProcess.Report.class));
            }
        }

        private void take(RankProcess.Report next) {
            if (next.failure() != null) {
                failures.putIfAbsent(next.cell(), next.failure() + "; " + drawn(next.cell(), next.index()));
            }
            arrived.merge(next.cell() + "/" + next.index(), 1, Integer::sum);
            while (cell < matrix.cells().size() && isComplete(cell)) {
                reportNext();
            }
        }

        private boolean isComplete(int index) {
            return matrix.cells().get(index).untestable(backend) != null
                    || arrived.getOrDefault(index + "/" + (matrix.cases() - 1), 0) == matrix.ranks();
        }

        private void reportNext() {
            Cell next = matrix.cells().get(cell);
            String untestable = next.untestable(backend);
            String failure = failures.get(cell);
            if (untestable != null) {
                report.accept(Matrix.skipped(next, untestable));
            } else {
                report.accept(failure == null ? matrix.passed(next) : Matrix.failed(next, failure));
            }
            cell++;
        }

        private CellCase drawn(int index, int number) {
            return matrix.draw(matrix.cells().get(index), number);
        }

        /** Reports the rest: all of it skipped, but for the cell at which the ranks ended too early. */
        void end(ProcessRanks.Result result) {
            boolean broken = false;
            while (cell < matrix.cells().size()) {
                if (isComplete(cell)) {
                    reportNext();
                } else if (broken) {
                    report.accept(Matrix.skipped(matrix.cells().get(cell++), "not run: the ranks had ended"));
                } else {
                    broken = true;
                    report.accept(Matrix.failed(matrix.cells().get(cell++), lastWords(result)));
                }
            }
        }

        private String lastWords(ProcessRanks.Result result) {
            String end = result.rank() < 0
                    ? "the ranks ended without a result, code " + result.exitCode()
                    : "rank " + result.rank() + " ended with exit code " + result.exitCode();
            return error == null ? end : end + ": " + error;
        }
    }
}
