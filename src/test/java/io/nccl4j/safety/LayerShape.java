package io.nccl4j.safety;

import io.nccl4j.ep.Algorithm;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.Layout;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.CaseSpace;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.RoutingKind;

/** The algorithms with their layouts. */
enum LayerShape {
    LL_EXPERT_MAJOR(Algorithm.LOW_LATENCY, Layout.EXPERT_MAJOR), LL_RANK_MAJOR(Algorithm.LOW_LATENCY,
            Layout.RANK_MAJOR), HT_FLAT(Algorithm.HIGH_THROUGHPUT,
                    Layout.FLAT), HT_EXPERT_MAJOR(Algorithm.HIGH_THROUGHPUT, Layout.EXPERT_MAJOR);

    final Algorithm algorithm;
    final Layout layout;

    LayerShape(Algorithm algorithm, Layout layout) {
        this.algorithm = algorithm;
        this.layout = layout;
    }

    boolean isLowLatency() {
        return algorithm == Algorithm.LOW_LATENCY;
    }

    /** A small case of this shape; its batches are drawn again from it. */
    EpCase draw(int ranks, long seed) {
        CaseSpace space = isLowLatency()
                ? CaseSpace.lowLatency(ranks).withHidden(512)
                : CaseSpace.highThroughput(ranks).withHidden(64);
        return EpCase.draw(space.withRanks(ranks).withFormat(NumberFormat.BFLOAT16).withRoutings(RoutingKind.UNIFORM),
                seed);
    }

    /** The configuration of a group for such cases. */
    EpGroupConfig.Builder config(EpCase model) {
        EpGroupConfig.Builder config = isLowLatency() ? EpGroupConfig.lowLatency() : EpGroupConfig.highThroughput();
        return config.experts(model.shape().experts()).maxTokensPerRank(model.shape().maxTokens())
                .maxTokenBytes(model.hidden() * model.format().bytes()).layout(layout).topK(model.shape().topK());
    }

    static DataType type(EpCase model) {
        return DataType.valueOf(model.format().name());
    }
}
