package io.nccl4j.benchmarks;

import io.nccl4j.NativeLibraryException;
import io.nccl4j.benchmarks.bench.AotCommand;
import io.nccl4j.benchmarks.bench.BenchCommand;
import io.nccl4j.benchmarks.demo.DemoCommand;
import io.nccl4j.benchmarks.faults.FaultsCommand;
import io.nccl4j.benchmarks.jmh.JmhCommand;
import io.nccl4j.benchmarks.launch.LaunchCommand;
import io.nccl4j.benchmarks.patterns.PatternsCommand;
import io.nccl4j.benchmarks.test.TestCommand;
import java.io.IOException;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/**
 * The {@code ep} command. Exit codes: 0 success, 1 a result is wrong, 2 options that make no sense, 3 anything else
 * failed.
 */
@Command(name = "ep", mixinStandardHelpOptions = true, version = "nccl4j 0.1.0-SNAPSHOT",
        description = "Mixture-of-Experts dispatch and combine with NCCL EP, from Java.",
        subcommands = {DemoCommand.class, TestCommand.class, JmhCommand.class, BenchCommand.class,
                PatternsCommand.class, FaultsCommand.class, LaunchCommand.class, AotCommand.class, InfoCommand.class})
public final class Ep {
    /** How the line on standard error begins that says why the command failed. */
    public static final String ERROR_PREFIX = "ep: ";

    private static final int FAILED = 3;

    private Ep() {
    }

    public static void main(String[] arguments) {
        // Before any logger is made; a progress bar and a table leave no room for a log at information level.
        if (System.getProperty("org.slf4j.simpleLogger.defaultLogLevel") == null) {
            System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "warn");
        }
        CommandLine command = new CommandLine(new Ep()).setCaseInsensitiveEnumValuesAllowed(true);
        command.getSubcommands().values().forEach(sub -> sub.getCommandSpec().mixinStandardHelpOptions(true));
        command.setExecutionExceptionHandler((e, failed, parsed) -> fail(e));
        System.exit(command.execute(arguments));
    }

    private static int fail(Exception e) {
        System.err.println(ERROR_PREFIX + (e.getMessage() == null ? e.toString() : e.getMessage()));
        // What is missing and where it was looked for is in the message; anything else is explained by where it
        // happened.
        if (!(e instanceof NativeLibraryException || e instanceof IOException)) {
            (e.getCause() == null ? e : e.getCause()).printStackTrace(System.err);
        }
        return FAILED;
    }
}
