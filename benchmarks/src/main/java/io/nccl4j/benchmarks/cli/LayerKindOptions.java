package io.nccl4j.benchmarks.cli;

import io.nccl4j.ep.Layout;
import io.nccl4j.testing.LayerKind;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/** Algorithm and layout; a mixin. */
public final class LayerKindOptions {
    /** Names of the algorithms. */
    private enum AlgorithmName {
        LL, HT
    }

    @Option(names = "--algorithm", split = ",", paramLabel = "ll|ht",
            description = "Low latency, high throughput (default: both).")
    private List<AlgorithmName> algorithms = List.of(AlgorithmName.values());

    @Option(names = "--layout", paramLabel = "expert|rank|flat", converter = LayoutConverter.class,
            description = "One layout of received rows only: expert-major, rank-major (ll only), flat (ht only).")
    private @Nullable Layout layout;

    /** Whether a layout was named. */
    public boolean hasLayout() {
        return layout != null;
    }

    /**
     * The kinds that were chosen, in the order of {@link LayerKind}.
     *
     * @throws picocli.CommandLine.ParameterException if an algorithm does not have the layout
     */
    public List<LayerKind> kinds(Usage usage) {
        List<LayerKind> kinds = Arrays.stream(LayerKind.values())
                .filter(kind -> algorithms.contains(kind.isLowLatency() ? AlgorithmName.LL : AlgorithmName.HT))
                .filter(kind -> layout == null || layout == kind.layout()).toList();
        usage.require(!kinds.isEmpty(), "--layout %s: --algorithm %s does not have it", layout, algorithms);
        return kinds;
    }

    /** The same options, for another process. */
    public List<String> arguments() {
        List<String> arguments = new ArrayList<>(
                List.of("--algorithm", algorithms.stream().map(AlgorithmName::name).collect(Collectors.joining(","))));
        if (layout != null) {
            arguments.addAll(List.of("--layout", layout.name()));
        }
        return arguments;
    }

    /** Takes {@code expert} and {@code expert_major}. */
    static final class LayoutConverter implements ITypeConverter<Layout> {
        @Override
        public Layout convert(String value) {
            return switch (value.toLowerCase(Locale.ROOT)) {
                case "expert", "expert_major" -> Layout.EXPERT_MAJOR;
                case "rank", "rank_major" -> Layout.RANK_MAJOR;
                case "flat" -> Layout.FLAT;
                default -> throw new TypeConversionException("expected expert, rank or flat but was '" + value + "'");
            };
        }
    }
}
