package io.nccl4j.benchmarks.cluster;

import com.github.freva.asciitable.AsciiTable;
import com.github.freva.asciitable.Column;
import com.github.freva.asciitable.ColumnData;
import com.github.freva.asciitable.HorizontalAlign;
import io.nccl4j.benchmarks.cli.Json;
import java.lang.reflect.RecordComponent;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;
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
        return AsciiTable.getTable(figures,
                List.of(text("", Figures::algorithm), text("layout", Figures::layout), text("calls", Figures::mode),
                        text("operation", Figures::operation), number("tokens", Figures::tokens, "%.0f"),
                        number("p50 us", Figures::p50Micros, "%.1f"), number("p90 us", Figures::p90Micros, "%.1f"),
                        number("p99 us", Figures::p99Micros, "%.1f"), number("max us", Figures::maxMicros, "%.1f"),
                        number("mean us", Figures::meanMicros, "%.1f"), number("MB/rank", Figures::megabytes, "%.2f"),
                        number("GB/s/rank", Figures::gigabytesPerSecond, "%.2f"),
                        number("slowest", Figures::slowestGigabytesPerSecond, "%.2f"),
                        number("fastest", Figures::fastestGigabytesPerSecond, "%.2f")));
    }

    private static ColumnData<Figures> text(String header, Function<Figures, String> value) {
        return new Column().header(header).dataAlign(HorizontalAlign.LEFT).with(value);
    }

    private static ColumnData<Figures> number(String header, ToDoubleFunction<Figures> value, String format) {
        return new Column().header(header).with(line -> String.format(Locale.ROOT, format, value.applyAsDouble(line)));
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
