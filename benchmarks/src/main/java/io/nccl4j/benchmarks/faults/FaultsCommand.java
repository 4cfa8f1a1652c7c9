package io.nccl4j.benchmarks.faults;

import io.nccl4j.Backend;
import io.nccl4j.benchmarks.cli.BackendOption;
import io.nccl4j.benchmarks.cli.Json;
import io.nccl4j.benchmarks.cli.OutputOption;
import io.nccl4j.benchmarks.launch.ProcessRanks;
import io.nccl4j.benchmarks.launch.ThisProgram;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.MisuseMode;
import io.nccl4j.nccl.Bootstrap;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.Consumer;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code ep faults}. */
@Command(name = "faults",
        description = "Show what happens when one of two ranks is killed or uses groups in another order.",
        footer = {"", "Two processes on two devices, anew for each fault; prints what rank 0 sees."})
public final class FaultsCommand implements Callable<Integer> {
    private static final int RANKS = 2;

    @Option(names = "--only", split = ",", paramLabel = "FAULT",
            description = "Some of ${COMPLETION-CANDIDATES} (default: all).")
    private List<Fault> only = List.of(Fault.values());

    @Option(names = "--limit", paramLabel = "SECONDS", defaultValue = "60",
            description = "For each fault (default: ${DEFAULT-VALUE}).")
    private int limitSeconds;

    @Mixin
    private final BackendOption backend = new BackendOption();

    @Mixin
    private final OutputOption output = new OutputOption();

    @Option(names = "--as-rank", hidden = true, description = "This process is one rank of several.")
    private boolean asRank;

    @Override
    public Integer call() throws Exception {
        backend.use();
        if (asRank) {
            if (backend.backend() == Backend.EMULATOR) {
                Emulator.use();
                Emulator.options().misuse(MisuseMode.REPORT);
            }
            try (Bootstrap bootstrap = Bootstraps.fromEnvironment()) {
                only.getFirst().run(bootstrap);
            }
            return 0;
        }
        List<FaultResult> results = new ArrayList<>();
        for (Fault fault : only) {
            if (!output.isJson()) {
                System.out.println("== " + fault);
            }
            results.add(run(fault));
        }
        if (output.isJson()) {
            System.out.println(Json.of(Map.of("faults", results)));
        }
        return results.stream().allMatch(FaultResult::ended) ? 0 : 1;
    }

    /** A fault, what each rank has said of it, and whether all came to an end that was expected. */
    private record FaultResult(Fault fault, boolean ended, List<String> lines) {
    }

    private FaultResult run(Fault fault) throws Exception {
        List<String> lines = Collections.synchronizedList(new ArrayList<>());
        Consumer<String> tell = line -> {
            lines.add(line);
            if (!output.isJson()) {
                System.out.println(line);
            }
        };
        ProcessRanks.Lines print = (rank, channel, line) -> tell.accept("[" + rank + "] " + line);
        List<String> command = ThisProgram.command("faults", "--as-rank", "--backend",
                backend.backend().name().toLowerCase(Locale.ROOT), "--only", fault.name());
        ProcessRanks ranks = new ProcessRanks(RANKS, command, print);
        ProcessRanks.Result result = (fault.kills() ? ranks.expectingTheDeathOf(1) : ranks)
                .run(Duration.ofSeconds(limitSeconds));
        if (result.exitCode() != 0) {
            tell.accept(result.rank() < 0
                    ? "not finished after " + limitSeconds + " s"
                    : "rank " + result.rank() + " ended with exit code " + result.exitCode());
        }
        return new FaultResult(fault, result.exitCode() == 0, lines);
    }
}
