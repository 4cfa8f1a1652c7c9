package io.nccl4j.benchmarks.jmh;

import io.nccl4j.benchmarks.cli.Table;
import io.nccl4j.benchmarks.stats.Median;
import java.util.List;
import java.util.function.ToDoubleFunction;

/**
 * The cost of one call to the host, from several rounds. A ratio is the median of the rounds' ratios: both sides of
 * each were measured within seconds.
 *
 * @param call its name
 * @param rounds at least one
 */
public record HostCost(String call, List<Round> rounds) {
    /**
     * One round.
     *
     * @param c nanoseconds from C
     * @param bare nanoseconds through a static final handle
     * @param api nanoseconds through the public API
     * @param apiBytes bytes of garbage per call through the public API
     */
    public record Round(double c, double bare, double api, double apiBytes) {
    }

    private double median(ToDoubleFunction<Round> value) {
        return Median.of(rounds.stream().mapToDouble(value).toArray());
    }

    public double c() {
        return median(Round::c);
    }

    public double bare() {
        return median(Round::bare);
    }

    public double api() {
        return median(Round::api);
    }

    public double apiBytes() {
        return median(Round::apiBytes);
    }

    public double bareToC() {
        return median(round -> round.bare / round.c);
    }

    public double apiToC() {
        return median(round -> round.api / round.c);
    }

    public double apiToBare() {
        return median(round -> round.api / round.bare);
    }

    /** For people. */
    public static String table(List<HostCost> costs) {
        return new Table<HostCost>().text("call", HostCost::call).number("C ns", "%.2f", HostCost::c)
                .number("bare ns", "%.2f", HostCost::bare).number("API ns", "%.2f", HostCost::api)
                .number("bare / C", "%.2f", HostCost::bareToC).number("API / C", "%.2f", HostCost::apiToC)
                .number("API / bare", "%.2f", HostCost::apiToBare).number("garbage B", "%.2f", HostCost::apiBytes)
                .of(costs);
    }

}
