package io.nccl4j.benchmarks.cluster;

import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.benchmarks.layer.Traffic;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.HdrHistogram.Histogram;

/**
 * A line of the report.
 *
 * @param algorithm ll or ht
 * @param layout of received rows
 * @param mode how the calls were made
 * @param operation what was timed
 * @param ranks number of ranks
 * @param tokens most of a rank
 * @param p50Micros median over all ranks and iterations; likewise the others
 * @param p90Micros 90th percentile
 * @param p99Micros 99th percentile
 * @param maxMicros longest
 * @param meanMicros mean
 * @param megabytes per rank, mean of the ranks
 * @param gigabytesPerSecond of a rank: its bytes by its mean time; mean of the ranks
 * @param slowestGigabytesPerSecond of the rank with the least
 * @param fastestGigabytesPerSecond of the rank with the most
 */
record Figures(String algorithm, String layout, String mode, String operation, int ranks, int tokens, double p50Micros,
        double p90Micros, double p99Micros, double maxMicros, double meanMicros, double megabytes,
        double gigabytesPerSecond, double slowestGigabytesPerSecond, double fastestGigabytesPerSecond) {
    private static final int DIGITS = 3;

    /** From the times of all ranks; an operation that was not measured has no figures. */
    static List<Figures> of(LayerShape shape, CallMode mode, Traffic traffic, List<Samples> ranks) {
        return Arrays.stream(Operation.values())
                .filter(operation -> ranks.stream().allMatch(samples -> samples.of(operation).length > 0))
                .map(operation -> of(shape, mode, operation, traffic, ranks)).toList();
    }

    private static Figures of(LayerShape shape, CallMode mode, Operation operation, Traffic traffic,
            List<Samples> ranks) {
        Histogram times = new Histogram(DIGITS);
        double[] bandwidth = new double[ranks.size()];
        double bytes = 0;
        for (int rank = 0; rank < bandwidth.length; rank++) {
            long[] of = ranks.get(rank).of(operation);
            for (long nanos : of) {
                times.recordValue(nanos);
            }
            long rankBytes = operation.bytes(traffic, rank);
            bytes += rankBytes;
            // Bytes per nanosecond are gigabytes per second.
            bandwidth[rank] = rankBytes / Arrays.stream(of).average().orElseThrow();
        }
        return new Figures(shape.kind().isLowLatency() ? "ll" : "ht", lower(shape.kind().layout()), lower(mode),
                lower(operation), bandwidth.length, shape.sizes().maxTokens(), micros(times.getValueAtPercentile(50)),
                micros(times.getValueAtPercentile(90)), micros(times.getValueAtPercentile(99)),
                micros(times.getMaxValue()), times.getMean() / 1e3, bytes / bandwidth.length / 1e6,
                Arrays.stream(bandwidth).average().orElseThrow(), Arrays.stream(bandwidth).min().orElseThrow(),
                Arrays.stream(bandwidth).max().orElseThrow());
    }

    private static double micros(long nanos) {
        return nanos / 1e3;
    }

    private static String lower(Enum<?> constant) {
        return constant.name().toLowerCase(Locale.ROOT);
    }
}
