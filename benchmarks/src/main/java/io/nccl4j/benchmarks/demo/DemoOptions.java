package io.nccl4j.benchmarks.demo;

import io.nccl4j.benchmarks.cli.Usage;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** The sizes of the demo; a mixin. */
final class DemoOptions {
    private static final int MOST_RANKS = 64;
    private static final int EXPERTS_PER_RANK = 4;

    @Option(names = "--ranks", paramLabel = "N", defaultValue = "4", description = "Ranks, each a thread with its own device (default: ${DEFAULT-VALUE}).")
    private int ranks;

    @Option(names = "--layers", paramLabel = "N", defaultValue = "4", description = "Mixture-of-Experts layers (default: ${DEFAULT-VALUE}).")
    private int layers;

    @Option(names = "--tokens", paramLabel = "N", defaultValue = "32", description = "Most tokens per rank and step (default: ${DEFAULT-VALUE}).")
    private int tokens;

    @Option(names = "--hidden", paramLabel = "N", defaultValue = "1024", description = "Elements per token, bfloat16 (default: ${DEFAULT-VALUE}).")
    private int hidden;

    @Option(names = "--experts", paramLabel = "N", description = "Experts over all ranks (default: 4 per rank).")
    private @Nullable Integer experts;

    @Option(names = "--topk", paramLabel = "N", defaultValue = "4", description = "Experts per token (default: ${DEFAULT-VALUE}).")
    private int topK;

    @Option(names = "--steps", paramLabel = "N", defaultValue = "8", description = "Decode steps in each mode (default: ${DEFAULT-VALUE}).")
    private int steps;

    @Option(names = "--seed", paramLabel = "N", defaultValue = "1", description = "Where model and tokens come from (default: ${DEFAULT-VALUE}).")
    private long seed;

    @Option(names = "--algorithm", paramLabel = "ll|ht", description = "Low latency or high throughput only (default: both, one after the other).")
    private @Nullable AlgorithmChoice algorithm;

    /** Refuses sizes that make no sense. */
    void check(Usage usage) {
        usage.require(ranks >= 1 && ranks <= MOST_RANKS, "--ranks %d: must be 1 to %d", ranks, MOST_RANKS);
        usage.require(layers >= 1, "--layers %d: must be at least 1", layers);
        usage.require(tokens >= 1, "--tokens %d: must be at least 1", tokens);
        usage.require(steps >= 1, "--steps %d: must be at least 1", steps);
        usage.require(hidden >= 1, "--hidden %d: must be at least 1", hidden);
        usage.require(experts() >= 1 && experts() % ranks == 0, "--experts %d: must be a multiple of --ranks %d", experts(),
                ranks);
        usage.require(topK >= 1 && topK <= experts(), "--topk %d: must be 1 to --experts %d", topK, experts());
        algorithms().forEach(choice -> choice.check(this, usage));
    }

    int ranks() {
        return ranks;
    }

    int layers() {
        return layers;
    }

    int tokens() {
        return tokens;
    }

    int hidden() {
        return hidden;
    }

    int experts() {
        return experts == null ? EXPERTS_PER_RANK * ranks : experts;
    }

    int expertsPerRank() {
        return experts() / ranks;
    }

    int topK() {
        return topK;
    }

    int steps() {
        return steps;
    }

    long seed() {
        return seed;
    }

    /** What to run, in this order. */
    List<AlgorithmChoice> algorithms() {
        return algorithm == null ? List.of(AlgorithmChoice.values()) : List.of(algorithm);
    }
}
