package io.nccl4j.benchmarks.launch;

import io.nccl4j.benchmarks.cli.Usage;
import java.io.IOException;
import java.io.PrintStream;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code ep launch}. */
@Command(name = "launch", description = "Start a command once per rank, as processes of this machine.",
        footer = {"",
                "Each process finds RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and "
                        + "MASTER_PORT in its environment, as torchrun sets them. Output is prefixed by the rank. "
                        + "When a rank fails, the others are ended and its exit code is this command's."})
public final class LaunchCommand implements Callable<Integer> {
    @Option(names = {"-n", "--ranks"}, paramLabel = "N", required = true, description = "Number of processes.")
    private int ranks;

    @Option(names = "--limit", paramLabel = "SECONDS", defaultValue = "0",
            description = "End all after this time with exit code 124 (default: no limit).")
    private long limit;

    @Parameters(arity = "1..*", paramLabel = "COMMAND",
            description = "The command and its arguments; -- before it if it has options.")
    private List<String> command = List.of();

    @Spec
    private CommandSpec spec;

    @Override
    public Integer call() throws IOException, InterruptedException {
        Usage usage = new Usage(spec);
        usage.require(ranks >= 1 && ranks <= 1024, "--ranks %d: must be 1 to 1024", ranks);
        usage.require(limit >= 0, "--limit %d: must not be negative", limit);
        ProcessRanks.Result result = new ProcessRanks(ranks, command, LaunchCommand::print)
                .run(Duration.ofSeconds(limit));
        if (result.rank() >= 0) {
            System.err.println("ep launch: rank " + result.rank() + " ended with exit code " + result.exitCode());
        } else if (result.exitCode() != 0) {
            System.err.println("ep launch: not finished after " + limit + " s");
        }
        return result.exitCode();
    }

    private static void print(int rank, ProcessRanks.Channel channel, String line) {
        PrintStream stream = channel == ProcessRanks.Channel.OUTPUT ? System.out : System.err;
        stream.println("[" + rank + "] " + line);
    }
}
