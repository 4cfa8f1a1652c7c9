package io.nccl4j.benchmarks.cluster;

import io.nccl4j.Backend;
import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.benchmarks.layer.Payload;
import io.nccl4j.ep.Algorithm;
import io.nccl4j.ep.Layout;
import io.nccl4j.nccl.DataType;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** What the cluster benchmark measures; a mixin. */
public final class ClusterOptions {
    /** Names of the algorithms. */
    enum AlgorithmName {
        LL, HT
    }

    /** Names of the token types. */
    enum TypeName {
        BF16(DataType.BFLOAT16), FP16(DataType.FLOAT16), FP32(DataType.FLOAT32);

        private final DataType type;

        TypeName(DataType type) {
            this.type = type;
        }
    }

    /** Names of the layouts. */
    enum LayoutName {
        EXPERT, RANK, FLAT
    }

    /** How results are printed. */
    enum Format {
        TABLE, CSV, JSON
    }

    @Option(names = "--ranks", paramLabel = "N", defaultValue = "8", description = "Ranks as threads, one per device (default: ${DEFAULT-VALUE}). Not used where RANK and WORLD_SIZE are set, as by ./ep launch or torchrun: then this process is one rank.")
    private int ranks;

    @Option(names = "--algorithm", split = ",", paramLabel = "ll|ht", defaultValue = "ll,ht", description = "Low latency, high throughput (default: both).")
    private List<AlgorithmName> algorithms = List.of();

    @Option(names = "--mode", split = ",", paramLabel = "eager|staged|graph", defaultValue = "eager,staged,graph", description = "One call each; a send half and its completion (low latency only); replays of captured graphs (default: all).")
    private List<CallMode> modes = List.of();

    @Option(names = "--layout", paramLabel = "expert|rank|flat", description = "Of received rows: expert-major, rank-major (ll only), flat (ht only) (default: expert for ll, flat for ht).")
    private @Nullable LayoutName layout;

    @Option(names = "--tokens", paramLabel = "N", defaultValue = "128", description = "Tokens per rank (default: ${DEFAULT-VALUE}).")
    private int tokens;

    @Option(names = "--hidden", paramLabel = "N", defaultValue = "7168", description = "Elements of a token (default: ${DEFAULT-VALUE}).")
    private int hidden;

    @Option(names = "--experts", paramLabel = "N", defaultValue = "256", description = "Experts over all ranks (default: ${DEFAULT-VALUE}).")
    private int experts;

    @Option(names = "--topk", paramLabel = "N", defaultValue = "8", description = "Experts per token (default: ${DEFAULT-VALUE}).")
    private int topK;

    @Option(names = "--dtype", paramLabel = "bf16|fp16|fp32", defaultValue = "bf16", description = "Of tokens (default: ${DEFAULT-VALUE}).")
    private TypeName type = TypeName.BF16;

    @Option(names = "--recipe", paramLabel = "none|fp8|forward|nvfp4", defaultValue = "none", description = "fp8: dispatch quantises (ll). forward: the caller has, to fp8. nvfp4: combine quantises (ll, compute capability 10.0) (default: ${DEFAULT-VALUE}).")
    private Payload recipe = Payload.NONE;

    @Option(names = "--non-uniform", description = "Each rank routes between half of --tokens and all; the others go nowhere.")
    private boolean nonUniform;

    @Option(names = "--seed", paramLabel = "N", defaultValue = "1", description = "Of the routing (default: ${DEFAULT-VALUE}).")
    private long seed;

    @Option(names = "--warmup", paramLabel = "N", defaultValue = "10", description = "Iterations that don't count (default: ${DEFAULT-VALUE}).")
    private int warmUp;

    @Option(names = "--iterations", paramLabel = "N", defaultValue = "50", description = "Iterations that count (default: ${DEFAULT-VALUE}).")
    private int iterations;

    @Option(names = "--validate", description = "Compare every row of a first dispatch and combine with what the routing says; --recipe none only.")
    private boolean validate;

    @Option(names = "--format", paramLabel = "table|csv|json", defaultValue = "table", description = "Of the results (default: ${DEFAULT-VALUE}).")
    private Format format = Format.TABLE;

    /** Refuses what makes no sense for so many ranks. */
    void check(Usage usage, int size) {
        positive(usage, "--ranks", size);
        positive(usage, "--tokens", tokens);
        positive(usage, "--hidden", hidden);
        positive(usage, "--topk", topK);
        positive(usage, "--iterations", iterations);
        usage.require(warmUp >= 0, "--warmup %d: must not be negative", warmUp);
        usage.require(experts >= topK && experts % size == 0,
                "--experts %d: must be at least --topk %d and a multiple of %d ranks", experts, topK, size);
        usage.require(!validate || recipe == Payload.NONE, "--validate: only with --recipe none; see ./ep test");
        usage.require(recipe == Payload.NONE || type == TypeName.BF16, "--recipe %s: needs --dtype bf16", recipe);
        usage.require(!algorithms.contains(AlgorithmName.HT) || recipe == Payload.NONE || recipe == Payload.FORWARD,
                "--recipe %s: low latency only; add --algorithm ll", recipe);
        usage.require(layout != LayoutName.FLAT || !algorithms.contains(AlgorithmName.LL),
                "--layout flat: high throughput only; add --algorithm ht");
        usage.require(layout != LayoutName.RANK || !algorithms.contains(AlgorithmName.HT),
                "--layout rank: low latency only; add --algorithm ll");
    }

    private static void positive(Usage usage, String option, int value) {
        usage.require(value >= 1, "%s %d: must be at least 1", option, value);
    }

    /** What to measure, one after the other. */
    List<LayerShape> shapes(int size) {
        List<LayerShape> shapes = new ArrayList<>();
        for (AlgorithmName algorithm : algorithms) {
            boolean lowLatency = algorithm == AlgorithmName.LL;
            shapes.add(new LayerShape(lowLatency ? Algorithm.LOW_LATENCY : Algorithm.HIGH_THROUGHPUT,
                    layout(lowLatency), size, experts, tokens, hidden, topK, type.type, recipe));
        }
        return shapes;
    }

    private Layout layout(boolean lowLatency) {
        LayoutName chosen = layout != null ? layout : lowLatency ? LayoutName.EXPERT : LayoutName.FLAT;
        return switch (chosen) {
            case EXPERT -> Layout.EXPERT_MAJOR;
            case RANK -> Layout.RANK_MAJOR;
            case FLAT -> Layout.FLAT;
        };
    }

    /** The modes that a shape has. */
    List<CallMode> modes(LayerShape shape) {
        return modes.stream().filter(mode -> shape.isLowLatency() || mode != CallMode.STAGED).toList();
    }

    /** Whether the device has to have 4-bit floats. */
    boolean needsFp4(Backend backend) {
        return backend == Backend.EMULATOR && recipe == Payload.NVFP4;
    }

    int ranks() {
        return ranks;
    }

    boolean isUniform() {
        return !nonUniform;
    }

    long seed() {
        return seed;
    }

    int warmUp() {
        return warmUp;
    }

    int iterations() {
        return iterations;
    }

    boolean isValidated() {
        return validate;
    }

    Format format() {
        return format;
    }
}
