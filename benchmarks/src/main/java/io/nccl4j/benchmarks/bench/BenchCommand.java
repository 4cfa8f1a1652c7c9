package io.nccl4j.benchmarks.bench;

import io.nccl4j.benchmarks.cli.BackendOption;
import io.nccl4j.benchmarks.cli.OutputOption;
import io.nccl4j.benchmarks.cli.QuickOption;
import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.benchmarks.cluster.ClusterBenchmark;
import io.nccl4j.benchmarks.cluster.ClusterOptions;
import io.nccl4j.benchmarks.cluster.HtmlOption;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code ep bench}. */
@Command(name = "bench", sortOptions = false,
        description = "Latency and bandwidth of dispatch and combine; or, with --suite, ratios that can be "
                + "compared between machines.",
        footer = {"",
                "What is timed: CUDA events in the stream right before and after the operation. Before "
                        + "each iteration all ranks meet in an all-reduce of one float in the same stream. Routing "
                        + "is drawn once, and updated before the measurement. Percentiles are of all ranks and "
                        + "iterations.",
                "Bytes per rank, as NCCL EP's own ep_bench counts them: messages, one for each token and "
                        + "rank that it has experts on, times the bytes of a row with its scales. ll: those that the "
                        + "rank sends; in combine with the expert layout a row for each (token, expert) pair. ht: "
                        + "those that it receives, whatever the layout, and as many on the way home. What stays on "
                        + "the rank counts too. Bandwidth is these bytes by the rank's mean time: mean, slowest and "
                        + "fastest rank; 1 GB is 10^9 bytes.",
                "", "On a cluster: one process per GPU, with torchrun's environment:",
                "  torchrun --no-python --nproc-per-node 8 ./ep bench --backend native", "", "The suites:",
                "host: what calls cost the calling thread, on libraries that check their arguments and "
                        + "return; against bare method handles, C, JNI and Python's ctypes, per call and per decode "
                        + "step of 58 layers.",
                "emulator: how fast the emulator moves rows between 8 ranks as threads, against memcpy "
                        + "from as many threads.",
                "scale: processor time per row with 8 to 64 ranks as threads, and memory.",
                "startup: from the start of a JVM to its first dispatch on the emulator; size of the library."})
public final class BenchCommand implements Callable<Integer> {
    /** The suites there are. */
    enum Name {
        HOST(new HostSuite()), EMULATOR(new EmulatorSuite()), SCALE(new ScaleSuite()), STARTUP(new StartupSuite());

        private final Suite suite;

        Name(Suite suite) {
            this.suite = suite;
        }
    }

    @Option(names = "--suite", paramLabel = "host|emulator|scale|startup", description = "Measure ratios instead.")
    private @Nullable Name suite;

    @Mixin
    private final QuickOption quick = new QuickOption();

    @Mixin
    private final OutputOption output = new OutputOption();

    @Mixin
    private final HtmlOption html = new HtmlOption();

    @Mixin
    private final ClusterOptions cluster = new ClusterOptions();

    @Mixin
    private final BackendOption backend = new BackendOption();

    @Spec
    private CommandSpec spec;

    @Override
    public Integer call() throws Exception {
        if (suite == null) {
            new Usage(spec).require(!quick.isQuick(), "--quick: only with --suite; see --iterations");
            return new ClusterBenchmark(cluster, output, html, backend.use()).run(new Usage(spec));
        }
        new Usage(spec).require(!html.isAsked(), "--html: not with --suite");
        Suite.Result result = suite.suite.run(quick.isQuick(), output.isJson());
        if (output.isJson()) {
            System.err.println(result.text());
        }
        output.print(Map.of("ratios", result.ratios()),
                () -> result.text() + result.ratios().entrySet().stream()
                        .map(ratio -> String.format("%n%-28s %.2f", ratio.getKey(), ratio.getValue()))
                        .collect(Collectors.joining()));
        return 0;
    }
}
