package io.nccl4j.benchmarks.cluster;

import io.nccl4j.Backend;
import io.nccl4j.benchmarks.cli.LayerKindOptions;
import io.nccl4j.benchmarks.cli.OutputOption;
import io.nccl4j.benchmarks.cli.SeedOption;
import io.nccl4j.benchmarks.cli.SizeOptions;
import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.testing.LayerKind;
import java.util.List;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** The options of the cluster benchmark; a mixin. */
public final class ClusterOptions {
    /** Names of the token types. */
    enum TypeName {
        BF16(DataType.BFLOAT16), FP16(DataType.FLOAT16), FP32(DataType.FLOAT32);

        private final DataType type;

        TypeName(DataType type) {
            this.type = type;
        }
    }

    /** How rows are quantised on their way. */
    enum Recipe {
        NONE, FP8, FORWARD, NVFP4;

        private static final int FP8_BLOCK = 128;

        private BufferConfig rows(BufferConfig plain) {
            return switch (this) {
                case NONE -> plain;
                case FP8 -> plain.blockScaledFp8(false);
                case FORWARD -> plain.forwarding(DataType.FLOAT8_E4M3, plain.hidden(), DataType.FLOAT32,
                        plain.hidden() / FP8_BLOCK);
                case NVFP4 -> plain.nvfp4Combine();
            };
        }
    }

    /** How results are printed. */
    enum Format {
        TABLE, CSV, JSON
    }

    @Mixin
    private final SizeOptions sizes = new SizeOptions(8, 128, 7168, 256, 8);

    @Mixin
    private final LayerKindOptions kinds = new LayerKindOptions();

    @Option(names = "--mode", split = ",", paramLabel = "eager|staged|graph", defaultValue = "eager,staged,graph",
            description = "One call each; a send half and its completion (low latency only); replays of captured "
                    + "graphs (default: all).")
    private List<CallMode> modes = List.of();

    @Option(names = "--dtype", paramLabel = "bf16|fp16|fp32", defaultValue = "bf16",
            description = "Of tokens (default: ${DEFAULT-VALUE}).")
    private TypeName type = TypeName.BF16;

    @Option(names = "--recipe", paramLabel = "none|fp8|forward|nvfp4", defaultValue = "none",
            description = "fp8: dispatch quantises (ll). forward: the caller has, to fp8. nvfp4: combine quantises "
                    + "(ll, compute capability 10.0) (default: ${DEFAULT-VALUE}).")
    private Recipe recipe = Recipe.NONE;

    @Option(names = "--non-uniform",
            description = "Each rank routes between half of --tokens and all; the others go nowhere.")
    private boolean nonUniform;

    @Mixin
    private final SeedOption seed = new SeedOption();

    @Option(names = "--warmup", paramLabel = "N", defaultValue = "10",
            description = "Iterations that don't count (default: ${DEFAULT-VALUE}).")
    private int warmUp;

    @Option(names = "--iterations", paramLabel = "N", defaultValue = "50",
            description = "Iterations that count (default: ${DEFAULT-VALUE}).")
    private int iterations;

    @Option(names = "--validate",
            description = "Compare every row of a first dispatch and combine with the oracle; --recipe none only.")
    private boolean validate;

    @Option(names = "--format", paramLabel = "table|csv|json", defaultValue = "table",
            description = "Of the results (default: ${DEFAULT-VALUE}).")
    private Format format = Format.TABLE;

    /**
     * The layers to measure, one after the other.
     *
     * @throws picocli.CommandLine.ParameterException if the options make no sense for so many ranks
     */
    List<LayerShape> shapes(Usage usage, int size) {
        EpShape shape = sizes.check(usage, size);
        usage.requireIn("--iterations", iterations, Integer.MAX_VALUE);
        usage.require(warmUp >= 0, "--warmup %d: must not be negative", warmUp);
        usage.require(!validate || recipe == Recipe.NONE, "--validate: only with --recipe none; see ./ep test");
        usage.require(recipe == Recipe.NONE || type == TypeName.BF16, "--recipe %s: needs --dtype bf16", recipe);
        List<LayerKind> chosen = kinds.kinds(usage).stream()
                .filter(kind -> kinds.hasLayout() || kind == LayerKind.LL_EXPERT_MAJOR || kind == LayerKind.HT_FLAT)
                .toList();
        usage.require(
                recipe == Recipe.NONE || recipe == Recipe.FORWARD || chosen.stream().allMatch(LayerKind::isLowLatency),
                "--recipe %s: low latency only; add --algorithm ll", recipe);
        BufferConfig rows = recipe.rows(BufferConfig.of(sizes.hidden(), type.type));
        return chosen.stream().map(kind -> new LayerShape(kind, shape, rows)).toList();
    }

    /** The modes that a shape has. */
    List<CallMode> modes(LayerShape shape) {
        return modes.stream().filter(mode -> shape.kind().isLowLatency() || mode != CallMode.STAGED).toList();
    }

    /** Whether the device has to have 4-bit floats. */
    boolean needsFp4(Backend backend) {
        return backend == Backend.EMULATOR && recipe == Recipe.NVFP4;
    }

    int ranks() {
        return sizes.ranks();
    }

    /** Puts the ranks on their hosts. */
    void use(Backend backend, Usage usage) {
        sizes.use(backend, usage);
    }

    boolean isUniform() {
        return !nonUniform;
    }

    long seed() {
        return seed.orOne();
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

    Format format(OutputOption output) {
        return output.isJson() ? Format.JSON : format;
    }
}
