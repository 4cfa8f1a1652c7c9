package io.nccl4j.benchmarks.cluster;

import io.nccl4j.benchmarks.cli.Json;
import io.nccl4j.benchmarks.cli.Table;
import java.lang.reflect.RecordComponent;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/** The figures as text. */
final class ClusterReport {
    private ClusterReport() {
    }

    static String of(ClusterOptions.Format format, List<Figures> figures) {
        return switch (format) {
            case TABLE -> table(figures) + System.lineSeparator();
            case CSV -> csv(figures);
            case JSON -> Json.of(Map.of("figures", figures)) + System.lineSeparator();
        };
    }

    private static String table(List<Figures> figures) {
        return new Table<Figures>().text("", Figures::algorithm).text("layout", Figures::layout)
                .text("calls", Figures::mode).text("operation", Figures::operation)
                .number("tokens", "%d", Figures::tokens).number("p50 us", "%.1f", Figures::p50Micros)
                .number("p90 us", "%.1f", Figures::p90Micros).number("p99 us", "%.1f", Figures::p99Micros)
                .number("max us", "%.1f", Figures::maxMicros).number("mean us", "%.1f", Figures::meanMicros)
                .number("MB/rank", "%.2f", Figures::megabytes).number("GB/s/rank", "%.2f", Figures::gigabytesPerSecond)
                .number("slowest", "%.2f", Figures::slowestGigabytesPerSecond)
                .number("fastest", "%.2f", Figures::fastestGigabytesPerSecond).of(figures);
    }

    /** All components under their names. */
    private static String csv(List<Figures> figures) {
        RecordComponent[] components = Figures.class.getRecordComponents();
        StringBuilder text = new StringBuilder(
                Arrays.stream(components).map(RecordComponent::getName).collect(Collectors.joining(",")));
        text.append(System.lineSeparator());
        for (Figures line : figures) {
            text.append(
                    Arrays.stream(components).map(component -> value(component, line)).collect(Collectors.joining(",")))
                    .append(System.lineSeparator());
        }
        return text.toString();
    }

    private static String value(RecordComponent component, Figures line) {
        try {
            Object value = component.getAccessor().invoke(line);
            return value instanceof Double number ? String.format(Locale.ROOT, "%.3f", number) : value.toString();
        } catch (ReflectiveOperationException e) {
            throw new AssertionError(e);
        }
    }
}
