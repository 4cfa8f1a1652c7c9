package io.nccl4j.benchmarks.demo;

import io.nccl4j.Backend;
import io.nccl4j.benchmarks.cli.BackendOption;
import io.nccl4j.benchmarks.cli.OutputOption;
import io.nccl4j.benchmarks.cli.Progress;
import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.benchmarks.ranks.RankThreads;
import io.nccl4j.testing.LayerKind;
import java.time.Duration;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

/** {@code ep demo}. */
@Command(name = "demo",
        description = "Run a decode loop of Mixture-of-Experts layers on several ranks and verify every row.",
        footer = {"", "Exit code 0 if all rows are right, 1 if one differs, 2 if the options make no sense."})
public final class DemoCommand implements Callable<Integer> {
    private static final Duration LIMIT = Duration.ofMinutes(30);

    @Mixin
    private final DemoOptions options = new DemoOptions();

    @Mixin
    private final BackendOption backend = new BackendOption();

    @Mixin
    private final OutputOption output = new OutputOption();

    @Spec
    private CommandSpec spec;

    @Override
    public Integer call() {
        Usage usage = new Usage(spec);
        DemoOptions.Plan plan = options.check(usage);
        Backend chosen = backend.use();
        options.use(chosen, usage);
        MoeModel model = new MoeModel(plan);
        DemoReport report = new DemoReport(plan);
        for (LayerKind kind : plan.kinds()) {
            long steps = (long) plan.shape().ranks() * plan.steps() * Mode.values().length;
            try (Progress progress = Progress.start(kind.name(), steps, !output.isJson())) {
                DecodeLoop loop = new DecodeLoop(plan, model, kind, progress);
                report.add(kind,
                        RankThreads.run(chosen, plan.shape().ranks(), options.shareDevices(), LIMIT, loop::run));
            }
        }
        output.print(report.document(), report::text);
        return report.passed() ? 0 : 1;
    }
}
