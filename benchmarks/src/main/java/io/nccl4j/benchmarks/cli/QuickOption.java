package io.nccl4j.benchmarks.cli;

import picocli.CommandLine.Option;

/** How thoroughly to measure; a mixin. */
public final class QuickOption {
    @Option(names = "--quick", description = "Fewer measurements: for a first look, not for a record.")
    private boolean quick;

    public boolean isQuick() {
        return quick;
    }

    /** One of two numbers. */
    public int choose(int quickly, int thoroughly) {
        return quick ? quickly : thoroughly;
    }
}
