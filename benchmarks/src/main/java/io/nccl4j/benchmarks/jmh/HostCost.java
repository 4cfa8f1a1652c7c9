package io.nccl4j.benchmarks.jmh;

import com.github.freva.asciitable.AsciiTable;
import com.github.freva.asciitable.Column;
import com.github.freva.asciitable.ColumnData;
import com.github.freva.asciitable.HorizontalAlign;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.ToDoubleFunction;

/**
 * What one call costs the host.
 *
 * @param call its name
 * @param c nanoseconds from C
 * @param bare nanoseconds through a static final handle
 * @param api nanoseconds through the public API
 * @param apiBytes bytes of garbage per call through the public API
 */
public record HostCost(String call, double c, double bare, double api, double apiBytes) {
    private static final List<String> CALLS = List.of("update", "dispatch", "combine", "staged", "async", "launch");

    /**
     * Puts measurements together; calls that were not measured are left out.
     *
     * @param before what the C loop gave before the others were measured
     * @param after what it gave afterwards
     */
    public static List<HostCost> of(Map<String, Double> before, Map<String, Double> after,
            Map<String, HostMeasurement.Score> scores) {
        List<HostCost> costs = new ArrayList<>();
        for (String call : CALLS) {
            HostMeasurement.Score bare = scores.get("BareCallBenchmark." + call);
            HostMeasurement.Score api = scores.get("ApiCallBenchmark." + call);
            if (bare != null && api != null) {
                costs.add(new HostCost(call, (before.get(call) + after.get(call)) / 2, bare.nanos(), api.nanos(),
                        api.bytes()));
            }
        }
        return costs;
    }

    public double bareToC() {
        return bare / c;
    }

    public double apiToC() {
        return api / c;
    }

    public double apiToBare() {
        return api / bare;
    }

    /** For people. */
    public static String table(List<HostCost> costs) {
        return AsciiTable.getTable(costs,
                List.of(new Column().header("call").dataAlign(HorizontalAlign.LEFT).with(HostCost::call),
                        number("C ns", HostCost::c), number("bare ns", HostCost::bare), number("API ns", HostCost::api),
                        number("bare / C", HostCost::bareToC), number("API / C", HostCost::apiToC),
                        number("API / bare", HostCost::apiToBare), number("garbage B", HostCost::apiBytes)));
    }

    private static ColumnData<HostCost> number(String header, ToDoubleFunction<HostCost> value) {
        return new Column().header(header).dataAlign(HorizontalAlign.RIGHT)
                .with(cost -> String.format("%.2f", value.applyAsDouble(cost)));
    }
}
