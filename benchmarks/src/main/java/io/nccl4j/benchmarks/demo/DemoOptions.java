package io.nccl4j.benchmarks.demo;

import com.sun.management.OperatingSystemMXBean;
import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.ep.Algorithm;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpSizing;
import io.nccl4j.ep.Layout;
import io.nccl4j.nccl.DataType;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** The sizes of the demo; a mixin. */
final class DemoOptions {
    private static final int EXPERTS_PER_RANK = 4;
    private static final int STEPS = 8;
    /** So many at least prove that graphs replay as eager calls run. */
    private static final int COMPARED_STEPS = 50;
    private static final double GIBIBYTE = 1L << 30;

    /** As {@code --algorithm} names them. */
    private enum AlgorithmName {
        LL, HT
    }

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

    @Option(names = "--steps", paramLabel = "N", description = "Decode steps in each mode (default: 8, with --graph 50).")
    private @Nullable Integer steps;

    @Option(names = "--seed", paramLabel = "N", defaultValue = "1", description = "Where model and tokens come from (default: ${DEFAULT-VALUE}).")
    private long seed;

    @Option(names = "--algorithm", paramLabel = "ll|ht", description = "Low latency or high throughput only (default: both, one after the other).")
    private @Nullable AlgorithmName algorithm;

    @Option(names = "--layout", paramLabel = "NAME", description = "One layout only: expert_major, rank_major (low latency) or flat (high throughput).")
    private @Nullable Layout layout;

    @Option(names = "--graph", description = "Compare: every step runs eagerly and as the replay of a graph, on the same tokens; both are "
            + "verified and must be equal bit for bit. A rank has graphs of several numbers of tokens and takes the one that fits.")
    private boolean compared;

    /** Refuses sizes that make no sense. */
    void check(Usage usage) {
        requireIn(usage, "--ranks", ranks, 64);
        requireIn(usage, "--layers", layers, 1000);
        requireIn(usage, "--tokens", tokens, 1 << 16);
        requireIn(usage, "--steps", steps(), 1_000_000);
        requireIn(usage, "--hidden", hidden, 1 << 16);
        requireIn(usage, "--experts", experts(), 65_534);
        requireIn(usage, "--topk", topK, experts());
        usage.require(experts() % ranks == 0, "--experts %d: must be a multiple of --ranks %d", experts(), ranks);
        usage.require(!algorithms().isEmpty(), "--layout %s: --algorithm %s does not have it", layout, algorithm);
        algorithms().forEach(choice -> choice.check(this, usage));
        double needed = algorithms().stream().mapToDouble(this::memoryNeeded).max().orElseThrow();
        double present = memoryBytes();
        usage.require(needed <= present, "buffers alone would take %.1f GiB: this machine has %.1f", needed / GIBIBYTE,
                present / GIBIBYTE);
    }

    /** Of all ranks: buffers on the device, received rows and the experts' outputs as pinned memory too. */
    private double memoryNeeded(AlgorithmChoice choice) {
        EpSizing sizing = EpSizing.of(choice.config(this), ranks);
        return (double) ranks
                * (sizing.buffersBytes(BufferConfig.of(hidden, DataType.BFLOAT16))
                        + 2 * sizing.receivedBytes(hidden, DataType.BFLOAT16));
    }

    private static void requireIn(Usage usage, String option, int value, int most) {
        usage.require(value >= 1 && value <= most, "%s %d: must be 1 to %d", option, value, most);
    }

    private static double memoryBytes() {
        return ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class).getTotalMemorySize();
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
        return steps != null ? steps : compared ? COMPARED_STEPS : STEPS;
    }

    long seed() {
        return seed;
    }

    /** Whether graphs are compared with eager runs step by step. */
    boolean compared() {
        return compared;
    }

    /** What to run, in this order. */
    List<AlgorithmChoice> algorithms() {
        return Arrays.stream(AlgorithmChoice.values())
                .filter(choice -> algorithm == null
                        || (algorithm == AlgorithmName.LL) == (choice.algorithm() == Algorithm.LOW_LATENCY))
                .filter(choice -> layout == null || layout == choice.layout()).toList();
    }
}
