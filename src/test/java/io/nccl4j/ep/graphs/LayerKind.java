package io.nccl4j.ep.graphs;

import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.Layout;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.CaseSpace;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.RoutingKind;

/** The algorithms with their layouts. */
enum LayerKind {
    LL_EXPERT_MAJOR(true, Layout.EXPERT_MAJOR), LL_RANK_MAJOR(true, Layout.RANK_MAJOR), HT_FLAT(false,
            Layout.FLAT), HT_EXPERT_MAJOR(false, Layout.EXPERT_MAJOR);

    /** Duplicates may overflow a zone of low latency, and which of their weights survives is open in high throughput. */
    private static final RoutingKind[] ROUTINGS = {RoutingKind.UNIFORM, RoutingKind.SKEWED, RoutingKind.CONCENTRATED,
            RoutingKind.HOLES, RoutingKind.NOTHING};

    private final boolean lowLatency;
    private final Layout layout;

    LayerKind(boolean lowLatency, Layout layout) {
        this.lowLatency = lowLatency;
        this.layout = layout;
    }

    boolean isLowLatency() {
        return lowLatency;
    }

    Layout layout() {
        return layout;
    }

    RoutingKind[] routings() {
        return this == LL_RANK_MAJOR ? RoutingKind.values() : ROUTINGS.clone();
    }

    CaseSpace space(int ranks) {
        return (lowLatency ? CaseSpace.lowLatency(ranks) : CaseSpace.highThroughput(ranks)).withRanks(ranks)
                .withRoutings(routings());
    }

    EpGroupConfig.Builder config(EpCase model) {
        EpShape shape = model.shape();
        EpGroupConfig.Builder config = lowLatency ? EpGroupConfig.lowLatency() : EpGroupConfig.highThroughput();
        // Rows of a multiple of 16 bytes in every format.
        return config.experts(shape.experts()).maxTokensPerRank(shape.maxTokens())
                .maxTokenBytes(Math.ceilDiv(model.hidden() * 4, 16) * 16)
                .layout(layout).topK(shape.topK());
    }

    static DataType type(NumberFormat format) {
        return switch (format) {
            case BFLOAT16 -> DataType.BFLOAT16;
            case FLOAT16 -> DataType.FLOAT16;
            case FLOAT32 -> DataType.FLOAT32;
            default -> throw new IllegalArgumentException(format + " is no token format");
        };
    }
}
