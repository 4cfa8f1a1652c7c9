package io.nccl4j.benchmarks.patterns;

import com.github.freva.asciitable.AsciiTable;
import com.github.freva.asciitable.Column;
import com.github.freva.asciitable.ColumnData;
import com.github.freva.asciitable.HorizontalAlign;
import io.nccl4j.benchmarks.cli.OutputOption;
import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.emulator.Emulator;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.Function;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code ep patterns}. */
@Command(name = "patterns", description = "What a decode step costs the host on the emulator, by the way in which it is made.", footer = {
        "",
        "One rank, no token routed. A launch costs less on the emulator than on a GPU: read the native calls, and the "
                + "times as ratios."})
public final class PatternsCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

    @Option(names = "--layers", defaultValue = "48", description = "Layers of a step (default: ${DEFAULT-VALUE}).")
    private int layers;

    @Option(names = "--kernels", defaultValue = "5", description = "Kernels of attention in a layer, and as many of its experts "
            + "(default: ${DEFAULT-VALUE}).")
    private int kernels;

    @Option(names = "--steps", defaultValue = "200", description = "Steps measured (default: ${DEFAULT-VALUE}).")
    private int steps;

    @Mixin
    private final OutputOption output = new OutputOption();

    @Override
    public Integer call() {
        Usage usage = new Usage(spec);
        usage.require(layers > 0 && kernels > 0 && steps > 0, "--layers, --kernels and --steps must be positive");
        Emulator.use();
        List<PatternCost> costs = new ArrayList<>();
        try (LayerWork work = new LayerWork(kernels, false); LayerWork counted = new LayerWork(kernels, true)) {
            for (Patterns pattern : Patterns.values()) {
                long allocations = PatternCost.deviceAllocations(pattern, counted, layers);
                costs.add(PatternCost.measure(pattern, work, layers, steps, allocations));
            }
        }
        output.print(Map.of("costs", costs), () -> table(costs));
        return 0;
    }

    private static String table(List<PatternCost> costs) {
        return AsciiTable.getTable(costs, List.of(column("step", HorizontalAlign.LEFT, PatternCost::pattern),
                column("native calls", HorizontalAlign.RIGHT, cost -> String.format("%.0f", cost.nativeCalls())),
                column("host us/layer", HorizontalAlign.RIGHT,
                        cost -> String.format("%.2f", cost.hostMicrosPerLayer())),
                column("host waits", HorizontalAlign.RIGHT, cost -> String.format("%.1f", cost.hostWaits())),
                column("device allocations", HorizontalAlign.RIGHT, cost -> Long.toString(cost.deviceAllocations())),
                column("heap bytes", HorizontalAlign.RIGHT, cost -> Long.toString(cost.heapBytes()))));
    }

    private static ColumnData<PatternCost> column(String header, HorizontalAlign align,
            Function<PatternCost, String> value) {
        return new Column().header(header).dataAlign(align).with(value);
    }
}
