package io.nccl4j.benchmarks.cli;

import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;

/** Refuses options that make no sense together: the command prints its usage and ends with exit code 2. */
public final class Usage {
    private final CommandSpec command;

    public Usage(CommandSpec command) {
        this.command = command;
    }

    /** Refuses unless {@code holds}. */
    public void require(boolean holds, String message, Object... arguments) {
        if (!holds) {
            throw new ParameterException(command.commandLine(), String.format(message, arguments));
        }
    }

    /** Refuses a value that is not between 1 and {@code most}. */
    public void requireIn(String option, int value, int most) {
        require(value >= 1 && value <= most, "%s %d: must be 1 to %d", option, value, most);
    }
}
