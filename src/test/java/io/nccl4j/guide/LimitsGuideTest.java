package io.nccl4j.guide;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.ep.Algorithm;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpSizing;
import io.nccl4j.ep.Layout;
import io.nccl4j.nccl.DataType;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The example of docs/limits.md: its comments are right. */
class LimitsGuideTest {
    @Test
    void sizesAreKnownBeforeAnythingIsAllocated() {
        // example sizes
        // A model of 60 experts and hidden 2880, bfloat16, on 8 ranks:
        int experts = EpSizing.paddedExperts(Algorithm.LOW_LATENCY, 60, 8); // 64
        int hidden = EpSizing.paddedHidden(Algorithm.LOW_LATENCY, 2880, DataType.BFLOAT16); // 3072
        EpGroupConfig config = EpGroupConfig.lowLatency().experts(experts).topK(4).layout(Layout.EXPERT_MAJOR)
                .maxTokensPerRank(128).maxTokenBytes(hidden * 2);
        EpSizing sizes = EpSizing.of(config, 8);
        long group = sizes.groupBytes(); // 142,180,864: device memory that the group takes
        long buffers = sizes.buffersBytes(BufferConfig.of(hidden, DataType.BFLOAT16)); // 102,242,336: of EpBuffers
        long rows = sizes.receiveRows(); // 8192: rows that a rank has room for
        // end
        assertThat(List.of((long) experts, (long) hidden, group, buffers, rows)).containsExactly(64L, 3072L,
                142_180_864L, 102_242_336L, 8192L);
    }
}
