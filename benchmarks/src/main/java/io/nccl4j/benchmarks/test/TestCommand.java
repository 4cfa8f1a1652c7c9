package io.nccl4j.benchmarks.test;

import io.nccl4j.Backend;
import io.nccl4j.benchmarks.cli.BackendOption;
import io.nccl4j.benchmarks.cli.Json;
import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.MisuseMode;
import io.nccl4j.ep.Algorithm;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;
import picocli.CommandLine.TypeConversionException;

/** {@code ep test}. */
@Command(name = "test", description = "Run the correctness matrix: every algorithm, layout, type, recipe, budget, mode and direction, "
        + "on random shapes and routings, every row against a reference in plain Java.", footer = {"",
                "Prints PASS, FAIL or SKIP for each. Exit code 0 if nothing failed, else 1; 2 if the options make no sense."})
public final class TestCommand implements Callable<Integer> {
    @Option(names = "--ranks", paramLabel = "N", defaultValue = "4", description = "Number of ranks (default: ${DEFAULT-VALUE}).")
    private int ranks;

    @Option(names = "--processes", description = "Ranks as processes of this machine instead of threads.")
    private boolean processes;

    @Option(names = "--algorithm", paramLabel = "ll|ht", converter = AlgorithmConverter.class, description = "Low latency or high throughput only (default: both).")
    private @Nullable Algorithm algorithm;

    @Option(names = "--only", paramLabel = "TEXT", defaultValue = "", description = "Only lines that contain this text, such as \"ht flat bfloat16\".")
    private String only = "";

    @Option(names = "--cases", paramLabel = "N", defaultValue = "3", description = "Random cases per line (default: ${DEFAULT-VALUE}).")
    private int cases;

    @Option(names = "--seed", paramLabel = "HEX", converter = SeedConverter.class, description = "Where the cases come from, to repeat a run (default: a new one, which is printed).")
    private @Nullable Long seed;

    @Mixin
    private final BackendOption backend = new BackendOption();

    @Option(names = "--json", description = "Print one JSON object instead of lines.")
    private boolean json;

    @Option(names = "--as-rank", hidden = true, description = "This process is one rank of several.")
    private boolean asRank;

    @Spec
    private CommandSpec spec;

    @Override
    public Integer call() throws Exception {
        Usage usage = new Usage(spec);
        usage.require(ranks >= 1 && ranks <= 64, "--ranks %d: must be 1 to 64", ranks);
        usage.require(cases >= 1, "--cases %d: must be at least 1", cases);
        List<Cell> cells = Cell.matrix(algorithm).stream().filter(cell -> cell.toString().contains(only)).toList();
        usage.require(!cells.isEmpty(), "--only '%s': there is no such line", only);
        long chosen = seed == null ? new SplittableRandom().nextLong() : seed;
        Matrix matrix = new Matrix(cells, ranks, cases, chosen);
        if (asRank) {
            prepare(chosen);
            RankProcess.run(matrix, backend.backend());
            return 0;
        }
        if (!json) {
            System.out.println("seed " + Long.toHexString(chosen) + ", " + ranks + " ranks as "
                    + (processes ? "processes" : "threads") + ", backend "
                    + backend.backend().name().toLowerCase(Locale.ROOT));
        }
        List<Outcome> outcomes = new ArrayList<>();
        runner(chosen).run(matrix, outcome -> {
            outcomes.add(outcome);
            if (!json) {
                System.out.println(outcome);
            }
        });
        return report(outcomes, chosen);
    }

    private Matrix.Runner runner(long chosen) {
        if (processes) {
            backend.use();
            List<String> selection = new ArrayList<>(List.of("--only", only));
            if (algorithm != null) {
                selection.addAll(List.of("--algorithm", algorithm == Algorithm.LOW_LATENCY ? "ll" : "ht"));
            }
            return new ProcessRunner(backend.backend(), selection);
        }
        prepare(chosen);
        return new ThreadRunner(backend.backend());
    }

    /** On the emulator also what hardware does by itself: an open order differs, and new memory is not zero. */
    private void prepare(long chosen) {
        if (backend.use() == Backend.EMULATOR) {
            Emulator.use();
            // What would end the process is a failure of its line; the others are to be run.
            Emulator.options().shuffle(chosen == 0 ? 1 : chosen).poison(true).misuse(MisuseMode.REPORT);
        }
    }

    private int report(List<Outcome> outcomes, long chosen) {
        long passed = count(outcomes, Outcome.Status.PASS);
        long failed = count(outcomes, Outcome.Status.FAIL);
        long skipped = count(outcomes, Outcome.Status.SKIP);
        if (json) {
            System.out.println(Json.of(Map.of("passed", passed, "failed", failed, "skipped", skipped, "seed",
                    Long.toHexString(chosen), "outcomes", outcomes)));
        } else {
            System.out.printf("%d passed, %d failed, %d skipped%n", passed, failed, skipped);
        }
        return failed == 0 ? 0 : 1;
    }

    private static long count(List<Outcome> outcomes, Outcome.Status status) {
        return outcomes.stream().filter(outcome -> outcome.status() == status).count();
    }

    static final class AlgorithmConverter implements ITypeConverter<Algorithm> {
        @Override
        public Algorithm convert(String value) {
            return switch (value) {
                case "ll" -> Algorithm.LOW_LATENCY;
                case "ht" -> Algorithm.HIGH_THROUGHPUT;
                default -> throw new TypeConversionException("expected ll or ht but was '" + value + "'");
            };
        }
    }

    static final class SeedConverter implements ITypeConverter<Long> {
        @Override
        public Long convert(String value) {
            try {
                return Long.parseUnsignedLong(value, 16);
            } catch (NumberFormatException e) {
                throw new TypeConversionException("expected a hexadecimal number but was '" + value + "'");
            }
        }
    }
}
