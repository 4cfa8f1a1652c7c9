package io.nccl4j.examples.moe;

import io.nccl4j.NativeLibraryException;
import io.nccl4j.examples.moe.bench.GemmBenchCommand;
import io.nccl4j.examples.moe.bench.LogitsCommand;
import io.nccl4j.examples.moe.bench.StepBenchCommand;
import io.nccl4j.examples.moe.load.LoadCommand;
import io.nccl4j.examples.moe.model.ModelException;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** The server's command line. */
@Command(name = "moe-server", mixinStandardHelpOptions = true,
        description = "A decode server for Qwen3-MoE " + "models.",
        subcommands = {ServeCommand.class, LoadCommand.class, StepBenchCommand.class, GemmBenchCommand.class,
                LogitsCommand.class, RankCommandLine.class})
public final class Main {
    /** A request that a model, a machine or an option does not allow. */
    private static final int REFUSED = 2;
    private static final int FAILED = 1;

    private Main() {
    }

    public static void main(String[] arguments) {
        // The ranks' threads may still wait for each other: nothing waits for them.
        System.exit(commandLine().execute(arguments));
    }

    static CommandLine commandLine() {
        return new CommandLine(new Main()).setCaseInsensitiveEnumValuesAllowed(true)
                .setParameterExceptionHandler((e, arguments) -> {
                    String name = e.getCommandLine().getCommandSpec().qualifiedName();
                    e.getCommandLine().getErr().println(e.getMessage() + " (" + name + " --help lists the options)");
                    return REFUSED;
                }).setExecutionExceptionHandler((e, command, parsed) -> {
                    if (e instanceof ModelException || e instanceof NativeLibraryException) {
                        command.getErr().println(e.getMessage());
                        return REFUSED;
                    }
                    e.printStackTrace(command.getErr());
                    return FAILED;
                });
    }
}
