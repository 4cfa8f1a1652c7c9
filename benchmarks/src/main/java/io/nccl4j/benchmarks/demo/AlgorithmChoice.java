package io.nccl4j.benchmarks.demo;

import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.ep.Algorithm;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.Layout;

/**
 * How tokens travel: the algorithms of NCCL EP, each with its layouts.
 *
 * <p>A choice is four things that belong together: the configuration of the group, the rules that sizes must obey, the stage
 * that runs the experts on rows in that layout, and the arithmetic of combine, which is {@link CombineArithmetic}'s.
 */
enum AlgorithmChoice {
    /** Low latency, a zone per expert: combine applies the weights. */
    LL_EXPERT_MAJOR(Algorithm.LOW_LATENCY, Layout.EXPERT_MAJOR),
    /** Low latency, a region per source rank: the experts' stage applies the weights, combine adds the ranks' rows. */
    LL_RANK_MAJOR(Algorithm.LOW_LATENCY, Layout.RANK_MAJOR),
    /** High throughput, one row per token and rank: the experts' stage applies the weights, combine only adds. */
    HT_FLAT(Algorithm.HIGH_THROUGHPUT, Layout.FLAT),
    /** High throughput, zones of the experts one after the other: the experts' stage applies the weights, combine only adds. */
    HT_EXPERT_MAJOR(Algorithm.HIGH_THROUGHPUT, Layout.EXPERT_MAJOR);

    private final Algorithm algorithm;
    private final Layout layout;

    AlgorithmChoice(Algorithm algorithm, Layout layout) {
        this.algorithm = algorithm;
        this.layout = layout;
    }

    /** As {@code --algorithm} names the algorithm. */
    String label() {
        return isLowLatency() ? "LL" : "HT";
    }

    Algorithm algorithm() {
        return algorithm;
    }

    Layout layout() {
        return layout;
    }

    private boolean isLowLatency() {
        return algorithm == Algorithm.LOW_LATENCY;
    }

    /** The group. */
    EpGroupConfig config(DemoOptions options) {
        EpGroupConfig.Builder builder = isLowLatency() ? EpGroupConfig.lowLatency() : EpGroupConfig.highThroughput();
        return builder.experts(options.experts()).maxTokensPerRank(options.tokens())
                .maxTokenBytes(options.hidden() * Short.BYTES).topK(options.topK()).layout(layout).build();
    }

    /** What runs the experts of a rank. */
    ExpertStage stage(DemoOptions options, int rank, EpBuffers buffers) {
        return layout == Layout.EXPERT_MAJOR
                ? new ZonedExpertStage(options, rank, buffers)
                : new WeightedExpertStage(options, rank, buffers);
    }

    /** Refuses sizes that this algorithm cannot have. */
    void check(DemoOptions options, Usage usage) {
        if (isLowLatency()) {
            usage.require(options.hidden() % 512 == 0, "--hidden %d: low latency needs a multiple of 512",
                    options.hidden());
            usage.require(options.experts() >= 2, "--experts %d: low latency needs at least 2", options.experts());
            usage.require(options.topK() <= 31, "--topk %d: low latency allows at most 31", options.topK());
        } else {
            usage.require(options.hidden() % 8 == 0, "--hidden %d: high throughput needs a multiple of 8",
                    options.hidden());
            usage.require(options.experts() % 4 == 0, "--experts %d: high throughput needs a multiple of 4",
                    options.experts());
            usage.require(options.tokens() * options.ranks() % 4 == 0,
                    "--tokens %d times --ranks %d: high throughput needs a multiple of 4", options.tokens(),
                    options.ranks());
            usage.require(options.topK() <= 32, "--topk %d: high throughput allows at most 32", options.topK());
        }
    }
}
