package io.nccl4j.benchmarks.demo;

import com.sun.management.OperatingSystemMXBean;
import io.nccl4j.Backend;
import io.nccl4j.benchmarks.cli.LayerKindOptions;
import io.nccl4j.benchmarks.cli.SeedOption;
import io.nccl4j.benchmarks.cli.SizeOptions;
import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpSizing;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.testing.LayerKind;
import java.lang.management.ManagementFactory;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** The options of the demo; a mixin. */
final class DemoOptions {
    private static final int STEPS = 8;
    /** So many at least prove that graphs replay as eager calls run. */
    private static final int COMPARED_STEPS = 50;
    private static final double GIBIBYTE = 1L << 30;

    /**
     * The settings of the demo.
     *
     * @param kinds one after the other
     * @param steps in each mode
     * @param compared whether graphs are compared with eager runs step by step
     */
    record Plan(List<LayerKind> kinds, EpShape shape, int hidden, int layers, int steps, long seed, boolean compared) {

        BufferConfig rows() {
            return BufferConfig.of(hidden, DataType.BFLOAT16);
        }

        EpGroupConfig config(LayerKind kind) {
            return kind.config(shape, hidden * Short.BYTES);
        }
    }

    @Mixin
    private final SizeOptions sizes = new SizeOptions(4, 32, 1024, 0, 4);

    @Option(names = "--layers", paramLabel = "N", defaultValue = "4",
            description = "Mixture-of-Experts layers (default: ${DEFAULT-VALUE}).")
    private int layers;

    @Option(names = "--steps", paramLabel = "N",
            description = "Decode steps in each mode (default: 8, with --graph 50).")
    private @Nullable Integer steps;

    @Mixin
    private final SeedOption seed = new SeedOption();

    @Mixin
    private final LayerKindOptions kinds = new LayerKindOptions();

    @Option(names = "--graph",
            description = "Compare: every step runs eagerly and as the replay of a graph, on the same tokens; both "
                    + "are verified and must be equal bit for bit. A rank has graphs of several numbers of "
                    + "tokens and takes the one that fits.")
    private boolean compared;

    /** Refuses sizes that make no sense. */
    Plan check(Usage usage) {
        int count = steps != null ? steps : compared ? COMPARED_STEPS : STEPS;
        usage.requireIn("--layers", layers, 1000);
        usage.requireIn("--steps", count, 1_000_000);
        Plan plan = new Plan(kinds.kinds(usage), sizes.check(usage, sizes.ranks()), sizes.hidden(), layers, count,
                seed.orOne(), compared);
        plan.kinds().forEach(kind -> check(kind, plan, usage));
        double needed = plan.kinds().stream().mapToDouble(kind -> memoryNeeded(kind, plan)).max().orElseThrow();
        double present = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class).getTotalMemorySize();
        usage.require(needed <= present, "buffers alone would take %.1f GiB: this machine has %.1f", needed / GIBIBYTE,
                present / GIBIBYTE);
        return plan;
    }

    boolean shareDevices() {
        return sizes.shareDevices();
    }

    /** Puts the ranks on their hosts. */
    void use(Backend backend, Usage usage) {
        sizes.use(backend, usage);
    }

    /** Refuses sizes that an algorithm cannot have. */
    private static void check(LayerKind kind, Plan plan, Usage usage) {
        EpShape shape = plan.shape();
        int hidden = plan.hidden();
        if (kind.isLowLatency()) {
            usage.require(hidden % 512 == 0, "--hidden %d: low latency needs a multiple of 512", hidden);
            usage.require(shape.experts() >= 2, "--experts %d: low latency needs at least 2", shape.experts());
            usage.require(shape.topK() <= 31, "--topk %d: low latency allows at most 31", shape.topK());
        } else {
            usage.require(hidden % 8 == 0, "--hidden %d: high throughput needs a multiple of 8", hidden);
            usage.require(shape.experts() / shape.teams() % 4 == 0,
                    "--experts %d: high throughput needs a multiple of 4 in each of %d teams", shape.experts(),
                    shape.teams());
            usage.require(shape.maxTokens() * shape.teamSize() % 4 == 0,
                    "--tokens %d times %d ranks of a team: high throughput needs a multiple of 4", shape.maxTokens(),
                    shape.teamSize());
            usage.require(shape.topK() <= 32, "--topk %d: high throughput allows at most 32", shape.topK());
        }
    }

    /** Of all ranks: buffers on the device, received rows and the experts' outputs as pinned memory too. */
    private static double memoryNeeded(LayerKind kind, Plan plan) {
        EpSizing sizing = EpSizing.of(plan.config(kind), plan.shape().ranks(), plan.shape().teams());
        return (double) plan.shape().ranks()
                * (sizing.buffersBytes(plan.rows()) + 2 * sizing.receivedBytes(plan.hidden(), DataType.BFLOAT16));
    }
}
