package io.nccl4j.benchmarks.demo;

import io.nccl4j.Backend;
import io.nccl4j.benchmarks.cli.BackendOption;
import io.nccl4j.benchmarks.cli.Progress;
import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.benchmarks.ranks.RankThreads;
import java.time.Duration;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code ep demo}. */
@Command(name = "demo", description = "Run a decode loop of Mixture-of-Experts layers on several ranks and verify every row.", footer = {
        "", "Exit code 0 if all rows are right, 1 if one differs, 2 if the options make no sense."})
public final class DemoCommand implements Callable<Integer> {
    private static final Duration LIMIT = Duration.ofMinutes(30);

    @Mixin
    private final DemoOptions options = new DemoOptions();

    @Mixin
    private final BackendOption backend = new BackendOption();

    @Option(names = "--json", description = "Print one JSON object instead of a table.")
    private boolean json;

    @Spec
    private CommandSpec spec;

    @Override
    public Integer call() {
        options.check(new Usage(spec));
        Backend chosen = backend.use();
        MoeModel model = new MoeModel(options);
        DemoReport report = new DemoReport(options);
        for (AlgorithmChoice algorithm : options.algorithms()) {
            long steps = (long) options.ranks() * options.steps() * Mode.values().length;
            try (Progress progress = Progress.start(algorithm.name(), steps, !json)) {
                DecodeLoop loop = new DecodeLoop(options, model, algorithm, progress);
                report.add(algorithm, RankThreads.run(chosen, options.ranks(), LIMIT, loop::run));
            }
        }
        System.out.println(json ? report.json() : report.text());
        return report.passed() ? 0 : 1;
    }
}
