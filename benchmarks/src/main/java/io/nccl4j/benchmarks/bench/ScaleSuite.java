package io.nccl4j.benchmarks.bench;

import io.nccl4j.benchmarks.cli.Table;
import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.benchmarks.stats.Median;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.testing.LayerKind;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** The cost of more ranks at as many tokens each: processor time per delivered row, and memory. */
final class ScaleSuite implements Suite {
    private static final int[] RANKS = {8, 16, 32, 64};
    private static final int ROWS_PER_MEASUREMENT = 1 << 17;
    private static final int TOKENS = 128;
    private static final int TOP_K = 8;

    /**
     * A number of ranks.
     *
     * @param nanosPerRow processor time, median of the rounds
     * @param vsFewest median of the rounds' ratios to the fewest ranks
     */
    private record Line(int ranks, double nanosPerRow, double vsFewest) {
    }

    @Override
    public Result run(boolean quick, boolean silent) throws Exception {
        long peak = PeakMemory.measure();
        Emulator.use();
        int rounds = quick ? 1 : 5;
        double[][] nanos = new double[RANKS.length][rounds];
        double[][] ratios = new double[RANKS.length][rounds];
        for (int round = 0; round < rounds; round++) {
            for (int i = 0; i < RANKS.length; i++) {
                nanos[i][round] = new ScalePoint(shape(RANKS[i]), ROWS_PER_MEASUREMENT / (RANKS[i] * TOKENS * TOP_K))
                        .measure();
                ratios[i][round] = nanos[i][round] / nanos[0][round];
            }
        }
        List<Line> lines = new ArrayList<>();
        for (int i = 0; i < RANKS.length; i++) {
            lines.add(new Line(RANKS[i], Median.of(nanos[i]), Median.of(ratios[i])));
        }
        String text = String.format("%s%npeak resident memory, %s: %.2f GiB", table(lines), PeakMemory.WHAT,
                (double) peak / (1 << 30));
        return new Result(text, Map.of("cpu_per_row_64_vs_8", lines.getLast().vsFewest()));
    }

    private static LayerShape shape(int ranks) {
        return LayerShape.bfloat16(LayerKind.LL_EXPERT_MAJOR, ranks, 256, TOP_K, TOKENS, 7168);
    }

    private static String table(List<Line> lines) {
        return new Table<Line>().number("ranks as threads", "%d", Line::ranks)
                .number("CPU ns per delivered row, dispatch and combine", "%.0f", Line::nanosPerRow)
                .number("vs 8 ranks", "%.2f", Line::vsFewest).of(lines);
    }
}
