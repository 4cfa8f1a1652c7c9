package io.nccl4j.benchmarks.demo;

import io.nccl4j.benchmarks.cli.Table;
import io.nccl4j.testing.LayerKind;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** The report that the demo prints at its end. */
final class DemoReport {
    /**
     * A line of the table.
     *
     * @param hostMicrosPerLayer median time per layer that the calling thread was busy
     * @param stepMicros median time of a step
     */
    private record Line(String algorithm, String layout, String mode, int steps, double hostMicrosPerLayer,
            double stepMicros, long rows, long wrong, double maxError) {
    }

    /** The same for machines. */
    private record Document(boolean verified, long rows, double maxAbsError, List<Line> runs,
            List<String> differences) {
    }

    private final DemoOptions.Plan plan;
    private final List<Line> lines = new ArrayList<>();
    private Verification all = Verification.none();

    DemoReport(DemoOptions.Plan plan) {
        this.plan = plan;
    }

    /** Takes the results of all ranks, which have run the same modes in the same order. */
    void add(LayerKind kind, List<List<ModeResult>> ranks) {
        for (int mode = 0; mode < ranks.getFirst().size(); mode++) {
            int index = mode;
            ModeResult result = ModeResult.merge(ranks.stream().map(rank -> rank.get(index)).toList());
            Verification verification = result.verification();
            lines.add(new Line(kind.isLowLatency() ? "LL" : "HT", kind.layout().name(),
                    result.mode().name().toLowerCase(Locale.ROOT), plan.steps(),
                    result.medianHostMicros() / plan.layers(), result.medianStepMicros(), verification.rows(),
                    verification.wrong(), verification.maxError()));
            all = all.plus(verification);
        }
    }

    boolean passed() {
        return all.passed();
    }

    Object document() {
        return new Document(all.passed(), all.rows(), all.maxError(), lines, all.examples());
    }

    String text() {
        StringBuilder text = new StringBuilder(table()).append(System.lineSeparator());
        text.append("Times are medians over steps and ranks; errors are against exact arithmetic.")
                .append(System.lineSeparator());
        if (!all.passed()) {
            all.examples().forEach(example -> text.append(example).append(System.lineSeparator()));
            return text.append(String.format("DIFFERENT: %d of %d rows", all.wrong(), all.rows())).toString();
        }
        text.append("Every row equals, bit by bit, a reference in plain Java with the roundings that NCCL EP does.")
                .append(System.lineSeparator());
        if (plan.compared()) {
            text.append("Every replay equals the eager run of the same tokens, bit by bit: rows of all layers, "
                    + "counts and received rows of the last.").append(System.lineSeparator());
        }
        return text.append(String.format("verified: %d rows, max abs error %.3g", all.rows(), all.maxError()))
                .toString();
    }

    private String table() {
        return new Table<Line>().text("algorithm", Line::algorithm).text("layout", Line::layout)
                .text("mode", Line::mode).number("steps", "%d", Line::steps)
                .number("host us/layer", "%.1f", Line::hostMicrosPerLayer).number("step us", "%.0f", Line::stepMicros)
                .number("rows verified", "%d", line -> line.rows - line.wrong)
                .number("max abs error", "%.3g", Line::maxError).of(lines);
    }

}
