package io.nccl4j.benchmarks.demo;

import com.sun.management.OperatingSystemMXBean;
import io.nccl4j.benchmarks.cli.Usage;
import java.lang.management.ManagementFactory;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** The sizes of the demo; a mixin. */
final class DemoOptions {
    private static final int EXPERTS_PER_RANK = 4;
    private static final double GIBIBYTE = 1L << 30;
    /** Received rows and the experts' outputs, each on the device and as pinned memory. */
    private static final int COPIES = 4;

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
        requireIn(usage, "--ranks", ranks, 64);
        requireIn(usage, "--layers", layers, 1000);
        requireIn(usage, "--tokens", tokens, 1 << 16);
        requireIn(usage, "--steps", steps, 1_000_000);
        requireIn(usage, "--hidden", hidden, 1 << 16);
        requireIn(usage, "--experts", experts(), 65_534);
        requireIn(usage, "--topk", topK, experts());
        usage.require(experts() % ranks == 0, "--experts %d: must be a multiple of --ranks %d", experts(), ranks);
        algorithms().forEach(choice -> choice.check(this, usage));
        long rows = algorithms().stream().mapToLong(choice -> choice.receivedRows(this)).max().orElseThrow();
        double needed = (double) COPIES * ranks * rows * hidden * Short.BYTES;
        double present = memoryBytes();
        usage.require(needed <= present, "received rows alone would take %.1f GiB: this machine has %.1f",
                needed / GIBIBYTE,
                present / GIBIBYTE);
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
