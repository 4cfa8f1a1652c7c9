package io.nccl4j.benchmarks.faults;

import io.nccl4j.Backend;
import io.nccl4j.benchmarks.cli.BackendOption;
import io.nccl4j.benchmarks.launch.ProcessRanks;
import io.nccl4j.benchmarks.launch.ThisProgram;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.MisuseMode;
import io.nccl4j.nccl.Bootstrap;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
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
        boolean ended = true;
        for (Fault fault : only) {
            System.out.println("== " + fault);
            ended &= run(fault);
        }
        return ended ? 0 : 1;
    }

    /** Whether all ranks came to an end that was expected. */
    private boolean run(Fault fault) throws Exception {
        ProcessRanks.Lines print = (rank, channel, line) -> System.out.println("[" + rank + "] " + line);
        List<String> command = ThisProgram.command("faults", "--as-rank", "--backend",
                backend.backend().name().toLowerCase(Locale.ROOT), "--only", fault.name());
        ProcessRanks ranks = new ProcessRanks(RANKS, command, print);
        ProcessRanks.Result result = (fault.kills() ? ranks.expectingTheDeathOf(1) : ranks)
                .run(Duration.ofSeconds(limitSeconds));
        if (result.exitCode() != 0) {
            System.out.println(result.rank() < 0
                    ? "not finished after " + limitSeconds + " s"
                    : "rank " + result.rank() + " ended with exit code " + result.exitCode());
        }
        return result.exitCode() == 0;
    }
}
