package io.nccl4j.benchmarks.demo;

import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.Layout;
import io.nccl4j.oracle.FlatSlots;
import io.nccl4j.oracle.HighThroughputFlat;
import io.nccl4j.oracle.LowLatencyExpertMajor;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.ReceiveBudget;

/**
 * How tokens travel: the algorithms of NCCL EP, each with one of its layouts.
 *
 * <p>A choice is four things that belong together: the configuration of the group, the rules that sizes must obey, the stage
 * that runs the experts on rows in that layout, and the arithmetic of combine. To try another layout, change these four for
 * one of the constants.
 */
enum AlgorithmChoice {
    /** Low latency, a zone per expert: combine applies the weights. */
    LL {
        @Override
        EpGroupConfig config(DemoOptions options) {
            return sized(EpGroupConfig.lowLatency(), options).layout(Layout.EXPERT_MAJOR).build();
        }

        @Override
        ExpertStage stage(DemoOptions options, int rank, EpBuffers buffers) {
            return new ZonedExpertStage(options, rank, buffers);
        }

        @Override
        void check(DemoOptions options, Usage usage) {
            usage.require(options.hidden() % 512 == 0, "--hidden %d: low latency needs a multiple of 512",
                    options.hidden());
            usage.require(options.experts() >= 2, "--experts %d: low latency needs at least 2", options.experts());
            usage.require(options.topK() <= 31, "--topk %d: low latency allows at most 31", options.topK());
        }

        @Override
        long receivedRows(DemoOptions options) {
            return (long) options.expertsPerRank() * options.ranks() * options.tokens();
        }

        @Override
        byte[][] expected(Reference.Routed routed, ExpertFunction experts, int hidden) {
            return LowLatencyExpertMajor.combine(routed.routing(), routed.rank(), routed.weights(),
                    (expert, source) -> {
                        byte[] row = new byte[hidden * FORMAT.bytes()];
                        for (int column = 0; column < hidden; column++) {
                            FORMAT.set(row, column,
                                    experts.apply(expert, column, FORMAT.get(routed.rows()[source.token()], column)));
                        }
                        return row;
                    }, FORMAT, hidden);
        }
    },
    /** High throughput, one row per token and rank: the experts' stage applies the weights, combine only adds. */
    HT {
        @Override
        EpGroupConfig config(DemoOptions options) {
            return sized(EpGroupConfig.highThroughput(), options).layout(Layout.FLAT).build();
        }

        @Override
        ExpertStage stage(DemoOptions options, int rank, EpBuffers buffers) {
            return new FlatExpertStage(options, rank, buffers);
        }

        @Override
        void check(DemoOptions options, Usage usage) {
            usage.require(options.hidden() % 8 == 0, "--hidden %d: high throughput needs a multiple of 8",
                    options.hidden());
            usage.require(options.experts() % 4 == 0, "--experts %d: high throughput needs a multiple of 4",
                    options.experts());
            usage.require(options.tokens() * options.ranks() % 4 == 0,
                    "--tokens %d times --ranks %d: high throughput needs a multiple of 4", options.tokens(),
                    options.ranks());
            usage.require(options.topK() <= 32, "--topk %d: high throughput allows at most 32", options.topK());
        }

        @Override
        long receivedRows(DemoOptions options) {
            return (long) options.ranks() * options.tokens();
        }

        @Override
        byte[][] expected(Reference.Routed routed, ExpertFunction experts, int hidden) {
            FlatSlots slots = new FlatSlots(routed.routing(), ReceiveBudget.eager());
            int perRank = routed.routing().shape().localExperts();
            return HighThroughputFlat.combine(slots, routed.rank(), (rank, source) -> {
                byte[] row = new byte[hidden * FORMAT.bytes()];
                int[] local = routed.routing().localExperts(source, rank);
                for (int column = 0; column < hidden; column++) {
                    float x = FORMAT.get(routed.rows()[source.token()], column);
                    float sum = 0;
                    for (int id : local) {
                        int expert = rank * perRank + id;
                        sum = Math.fma(weight(routed, source.token(), expert), experts.apply(expert, column, x), sum);
                    }
                    FORMAT.set(row, column, sum);
                }
                return row;
            }, FORMAT, hidden);
        }
    };

    private static final NumberFormat FORMAT = NumberFormat.BFLOAT16;

    /** The group. */
    abstract EpGroupConfig config(DemoOptions options);

    /** What runs the experts of a rank. */
    abstract ExpertStage stage(DemoOptions options, int rank, EpBuffers buffers);

    /** Refuses sizes that this algorithm cannot have. */
    abstract void check(DemoOptions options, Usage usage);

    /** Most rows that a rank can receive. */
    abstract long receivedRows(DemoOptions options);

    /** The rows that combine must give for a rank's tokens. */
    abstract byte[][] expected(Reference.Routed routed, ExpertFunction experts, int hidden);

    private static EpGroupConfig.Builder sized(EpGroupConfig.Builder builder, DemoOptions options) {
        return builder.experts(options.experts()).maxTokensPerRank(options.tokens())
                .maxTokenBytes(options.hidden() * FORMAT.bytes()).topK(options.topK());
    }

    private static float weight(Reference.Routed routed, int token, int expert) {
        int[] chosen = routed.routing().of(routed.rank())[token];
        for (int k = 0; k < chosen.length; k++) {
            if (chosen[k] == expert) {
                return routed.weights()[token][k];
            }
        }
        throw new IllegalArgumentException("token " + token + " does not go to expert " + expert);
    }
}
