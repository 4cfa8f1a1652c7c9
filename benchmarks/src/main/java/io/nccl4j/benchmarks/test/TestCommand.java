package io.nccl4j.benchmarks.test;

import io.nccl4j.Backend;
import io.nccl4j.benchmarks.cli.BackendOption;
import io.nccl4j.benchmarks.cli.LayerKindOptions;
import io.nccl4j.benchmarks.cli.OutputOption;
import io.nccl4j.benchmarks.cli.RanksOption;
import io.nccl4j.benchmarks.cli.SeedOption;
import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.MisuseMode;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code ep test}. */
@Command(name = "test",
        description = "Run the correctness matrix: every algorithm, layout, type, recipe, budget, mode and "
                + "direction, on random shapes and routings, every row against a reference in plain Java.",
        footer = {"",
                "Prints PASS, FAIL or SKIP for each. Exit code 0 if nothing failed, else 1; 2 if the "
                        + "options make no sense.",
                "The real library compiles a kernel for every shape: with --backend native there is one shape for "
                        + "each kind of layer."})
public final class TestCommand implements Callable<Integer> {
    @Mixin
    private final RanksOption ranks = new RanksOption(4);

    @Option(names = "--processes", description = "Ranks as processes of this machine instead of threads.")
    private boolean processes;

    @Mixin
    private final LayerKindOptions kinds = new LayerKindOptions();

    @Option(names = "--only", paramLabel = "TEXT", defaultValue = "",
            description = "Only lines that contain this text, such as \"ht flat bfloat16\".")
    private String only = "";

    @Option(names = "--cases", paramLabel = "N",
            description = "Random cases per line (default: 3, 1 with --backend native).")
    private @Nullable Integer cases;

    @Mixin
    private final SeedOption seed = new SeedOption();

    @Mixin
    private final BackendOption backend = new BackendOption();

    @Mixin
    private final OutputOption output = new OutputOption();

    @Option(names = "--as-rank", hidden = true, description = "This process is one rank of several.")
    private boolean asRank;

    @Spec
    private CommandSpec spec;

    @Override
    public Integer call() throws Exception {
        Usage usage = new Usage(spec);
        ranks.check(usage);
        usage.require(!processes || !ranks.shareDevices(), "--share-device: not with --processes");
        boolean real = backend.backend() == Backend.NATIVE;
        int each = cases != null ? cases : real ? 1 : 3;
        usage.requireIn("--cases", each, Integer.MAX_VALUE);
        List<Cell> cells = Cell.matrix(kinds.kinds(usage)).stream().filter(cell -> cell.toString().contains(only))
                .toList();
        usage.require(!cells.isEmpty(), "--only '%s': there is no such line", only);
        long chosen = seed.orNew();
        Matrix matrix = new Matrix(cells, ranks.count(), ranks.hosts(), each, chosen, real);
        if (asRank) {
            prepare(chosen, usage);
            RankProcess.run(matrix, backend.backend());
            return 0;
        }
        if (!output.isJson()) {
            System.out.println("seed " + Long.toHexString(chosen) + ", " + ranks.count() + " ranks on " + ranks.hosts()
                    + (ranks.hosts() == 1 ? " host as " : " hosts as ") + (processes ? "processes" : "threads")
                    + ", backend " + backend.backend().name().toLowerCase(Locale.ROOT));
        }
        List<Outcome> outcomes = new ArrayList<>();
        runner(chosen, usage).run(matrix, outcome -> {
            outcomes.add(outcome);
            if (!output.isJson()) {
                System.out.println(outcome);
            }
        });
        return report(outcomes, chosen);
    }

    private Matrix.Runner runner(long chosen, Usage usage) {
        if (processes) {
            backend.use();
            List<String> selection = new ArrayList<>(List.of("--only", only));
            selection.addAll(kinds.arguments());
            selection.addAll(ranks.arguments());
            return new ProcessRunner(backend.backend(), selection);
        }
        prepare(chosen, usage);
        return new ThreadRunner(backend.backend(), ranks.shareDevices());
    }

    /** On the emulator also what hardware does by itself: an open order differs, and new memory is not zero. */
    private void prepare(long chosen, Usage usage) {
        Backend used = backend.use();
        ranks.use(used, usage);
        if (used == Backend.EMULATOR) {
            Emulator.use();
            // What would end the process is a failure of its line; the others are to be run.
            Emulator.options().shuffle(chosen == 0 ? 1 : chosen).poison(true).misuse(MisuseMode.REPORT);
        }
    }

    private int report(List<Outcome> outcomes, long chosen) {
        long passed = count(outcomes, Outcome.Status.PASS);
        long failed = count(outcomes, Outcome.Status.FAIL);
        long skipped = count(outcomes, Outcome.Status.SKIP);
        output.print(
                Map.of("passed", passed, "failed", failed, "skipped", skipped, "seed", Long.toHexString(chosen),
                        "outcomes", outcomes),
                () -> passed + " passed, " + failed + " failed, " + skipped + " skipped");
        return failed == 0 ? 0 : 1;
    }

    private static long count(List<Outcome> outcomes, Outcome.Status status) {
        return outcomes.stream().filter(outcome -> outcome.status() == status).count();
    }
}
