package io.nccl4j.benchmarks.patterns;

import io.nccl4j.Backend;
import io.nccl4j.benchmarks.cli.BackendOption;
import io.nccl4j.benchmarks.cli.OutputOption;
import io.nccl4j.benchmarks.cli.RanksOption;
import io.nccl4j.benchmarks.cli.Table;
import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.emulator.Emulator;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code ep patterns}. */
@Command(name = "patterns", description = "What a decode step costs, by the way in which it is made.", footer = {"",
        "Counts the host's work on the emulator: one rank, no token routed. A launch costs less there than on a GPU: "
                + "read the native calls, and the times as ratios.",
        "With --timed, which --backend native implies: every token routed at random, steps back to back."})
public final class PatternsCommand implements Callable<Integer> {
    private static final int DEFAULT_LAYERS = 48;
    private static final int MOST_TOKENS = 1024;

    @Spec
    private CommandSpec spec;

    @Mixin
    private final BackendOption backend = new BackendOption();

    @Option(names = "--timed", description = "Time whole steps on --ranks devices.")
    private boolean timed;

    @Mixin
    private final RanksOption ranks = new RanksOption(1);

    @Option(names = "--model", split = ",", paramLabel = "NAME", defaultValue = "DEEPSEEK_V3,QWEN3_30B_A3B",
            description = "With --timed: whose expert layers, ${COMPLETION-CANDIDATES} (default: both).")
    private List<PatternShape.Model> models = List.of();

    @Option(names = "--tokens", split = ",", paramLabel = "N", defaultValue = "1,8,32,128",
            description = "With --timed: tokens of a rank (default: ${DEFAULT-VALUE}).")
    private List<Integer> tokens = List.of();

    @Option(names = "--layers", paramLabel = "N", defaultValue = "0",
            description = "Layers of a step (default: the model's, " + DEFAULT_LAYERS + " without --timed).")
    private int layers;

    @Option(names = "--kernels", paramLabel = "N", defaultValue = "5",
            description = "Kernels of attention in a layer, and as many of its experts "
                    + "(default: ${DEFAULT-VALUE}).")
    private int kernels;

    @Option(names = "--steps", paramLabel = "N", defaultValue = "200",
            description = "Steps measured (default: ${DEFAULT-VALUE}).")
    private int steps;

    @Option(names = "--warmup", paramLabel = "N", defaultValue = "500",
            description = "With --timed: steps of each pattern before all others (default: ${DEFAULT-VALUE}).")
    private int warmUp;

    @Mixin
    private final OutputOption output = new OutputOption();

    @Override
    public Integer call() {
        Usage usage = new Usage(spec);
        usage.require(layers >= 0 && kernels > 0 && steps > 0, "--layers, --kernels and --steps must be positive");
        usage.require(warmUp >= 0, "--warmup %d: must not be negative", warmUp);
        ranks.check(usage);
        usage.require(!ranks.shareDevices(), "--share-device: not here, where times are measured");
        tokens.forEach(count -> usage.requireIn("--tokens", count, MOST_TOKENS));
        boolean whole = timed || backend.backend() == Backend.NATIVE;
        usage.require(whole || ranks.count() == 1, "--ranks %d: only with --timed", ranks.count());
        for (PatternShape.Model model : models) {
            usage.require(model.shape().experts() % ranks.count() == 0,
                    "--ranks %d: the %d experts of %s cannot be divided by it", ranks.count(), model.shape().experts(),
                    model);
        }
        backend.use();
        if (whole) {
            List<PatternTime> times = times();
            output.print(Map.of("times", times), () -> timeTable(times));
        } else {
            List<PatternCost> costs = costs();
            output.print(Map.of("costs", costs), () -> costTable(costs));
        }
        return 0;
    }

    private List<PatternTime> times() {
        List<PatternTime> times = new ArrayList<>();
        // Creating a handle runs through much Java code, which takes some 50,000 layers to be compiled well.
        if (warmUp > 0) {
            PatternTime.measure(backend.backend(), ranks.count(), shape(models.getFirst()), tokens.getFirst(), kernels,
                    warmUp);
        }
        for (PatternShape.Model model : models) {
            PatternShape shape = shape(model);
            for (int count : tokens) {
                times.addAll(PatternTime.measure(backend.backend(), ranks.count(), shape, count, kernels, steps));
            }
        }
        return times;
    }

    private PatternShape shape(PatternShape.Model model) {
        return layers == 0 ? model.shape() : model.shape().withLayers(layers);
    }

    private List<PatternCost> costs() {
        Emulator.use();
        int count = layers == 0 ? DEFAULT_LAYERS : layers;
        List<PatternCost> costs = new ArrayList<>();
        try (LayerWork work = LayerWork.empty(kernels, false); LayerWork counted = LayerWork.empty(kernels, true)) {
            for (Patterns pattern : Patterns.values()) {
                long allocations = PatternCost.deviceAllocations(pattern, counted, count);
                costs.add(PatternCost.measure(pattern, work, count, steps, allocations));
            }
        }
        return costs;
    }

    /** A row per shape and number of tokens, a column per pattern: microseconds of a layer, of the host in brackets. */
    private static String timeTable(List<PatternTime> times) {
        List<Map<Patterns, PatternTime>> rows = new ArrayList<>();
        for (PatternTime time : times) {
            if (time.pattern().ordinal() == 0) {
                rows.add(new EnumMap<>(Patterns.class));
            }
            rows.getLast().put(time.pattern(), time);
        }
        Table<Map<Patterns, PatternTime>> table = new Table<>();
        table.text("us per layer (host)", row -> row.get(Patterns.GRAPH).shape().toString());
        table.number("tokens", "%d", row -> row.get(Patterns.GRAPH).tokens());
        for (Patterns pattern : Patterns.values()) {
            table.number(pattern.title(), "%s", row -> String.format(Locale.ROOT, "%.1f (%.1f)",
                    row.get(pattern).microsPerLayer(), row.get(pattern).hostMicrosPerLayer()));
        }
        for (Patterns slower : List.of(Patterns.CREATE_DESTROY, Patterns.EXPLICIT)) {
            table.number(slower.title() + " / graph", "%.2f",
                    row -> row.get(slower).microsPerLayer() / row.get(Patterns.GRAPH).microsPerLayer());
        }
        return table.of(rows);
    }

    private static String costTable(List<PatternCost> costs) {
        return new Table<PatternCost>().text("step", PatternCost::pattern)
                .number("native calls", "%.0f", PatternCost::nativeCalls)
                .number("host us/layer", "%.2f", PatternCost::hostMicrosPerLayer)
                .number("host waits", "%.1f", PatternCost::hostWaits)
                .number("device allocations", "%d", PatternCost::deviceAllocations)
                .number("heap bytes", "%d", PatternCost::heapBytes).of(costs);
    }

}
