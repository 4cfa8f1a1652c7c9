package io.nccl4j.benchmarks.cli;

import picocli.CommandLine.Option;

/** The number of ranks; a mixin. */
public final class RanksOption {
    private static final int MOST = 64;

    @Option(names = "--ranks", paramLabel = "N", description = "Number of ranks (default: ${DEFAULT-VALUE}).")
    private int ranks;

    public RanksOption(int byDefault) {
        ranks = byDefault;
    }

    public int count() {
        return ranks;
    }

    /** Refuses a number that makes no sense. */
    public void check(Usage usage) {
        usage.requireIn("--ranks", ranks, MOST);
    }
}
