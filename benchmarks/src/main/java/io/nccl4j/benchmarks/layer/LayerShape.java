package io.nccl4j.benchmarks.layer;

import io.nccl4j.ep.Algorithm;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.Layout;
import io.nccl4j.nccl.DataType;

/**
 * The sizes of a layer.
 *
 * @param algorithm low latency or high throughput
 * @param layout of received rows
 * @param ranks number of ranks
 * @param experts over all ranks
 * @param tokens most tokens per rank
 * @param hidden elements of a token
 * @param topK experts of a token
 * @param type of tokens where they are not quantised
 * @param payload how they travel
 */
public record LayerShape(Algorithm algorithm, Layout layout, int ranks, int experts, int tokens, int hidden, int topK,
        DataType type, Payload payload) {

    public boolean isLowLatency() {
        return algorithm == Algorithm.LOW_LATENCY;
    }

    public int localExperts() {
        return experts / ranks;
    }

    /** The rank that has an expert. */
    public int owner(int expert) {
        return expert / localExperts();
    }

    /** Bytes of a token that is not quantised. */
    public int rowBytes() {
        return hidden * type.byteSize();
    }

    private int maxTokenBytes() {
        return (int) Math.max(payload.dispatchBytes(hidden, type), rowBytes());
    }

    /** Whether a token is received once per expert, and not once per rank. */
    public boolean rowPerExpert() {
        return layout == Layout.EXPERT_MAJOR;
    }

    /** The group for it. */
    public EpGroupConfig groupConfig() {
        EpGroupConfig.Builder builder = isLowLatency() ? EpGroupConfig.lowLatency() : EpGroupConfig.highThroughput();
        return builder.experts(experts).maxTokensPerRank(tokens).maxTokenBytes(maxTokenBytes()).layout(layout)
                .topK(topK)
                .build();
    }
}
