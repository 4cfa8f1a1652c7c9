package io.nccl4j.benchmarks.bench;

import io.nccl4j.benchmarks.cli.Json;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** {@code ep bench}. */
@Command(name = "bench", description = "Measure, and print ratios that can be compared between machines.", footer = {"",
        "host: what calls cost the calling thread, on libraries that check their arguments and return; against bare method "
                + "handles, C, JNI and Python's ctypes, per call and per decode step of 58 layers. Takes some ten minutes.",
        "emulator: how fast the emulator moves rows between 8 ranks as threads, against memcpy from as many threads."})
public final class BenchCommand implements Callable<Integer> {
    /** The suites there are. */
    enum Name {
        HOST(new HostSuite()), EMULATOR(new EmulatorSuite()), SCALE(new ScaleSuite()), STARTUP(new StartupSuite());

        private final Suite suite;

        Name(Suite suite) {
            this.suite = suite;
        }
    }

    @Option(names = "--suite", required = true, paramLabel = "host|emulator|scale|startup", description = "What to measure.")
    private Name suite = Name.HOST;

    @Option(names = "--quick", description = "One short fork instead of three: for a first look, not for a record.")
    private boolean quick;

    @Option(names = "--json", description = "End with one JSON object whose ratios holds the figures.")
    private boolean json;

    @Override
    public Integer call() throws Exception {
        Suite.Result result = suite.suite.run(quick, json);
        System.out.println(result.text());
        if (json) {
            System.out.println(Json.of(Map.of("ratios", result.ratios())));
        } else {
            result.ratios().forEach((name, value) -> System.out.printf("%-28s %.2f%n", name, value));
        }
        return 0;
    }
}
