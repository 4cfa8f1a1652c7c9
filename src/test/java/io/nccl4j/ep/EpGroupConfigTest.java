package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import org.junit.jupiter.api.Test;

class EpGroupConfigTest {
    @Test
    void lowLatencyNamesItsShape() {
        EpGroupConfig.Builder bare = EpGroupConfig.lowLatency().experts(8).maxTokensPerRank(8).maxTokenBytes(1024);
        assertThatThrownBy(bare::build).isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("must name its layout");
        assertThatThrownBy(bare.layout(Layout.EXPERT_MAJOR)::build).isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("must name its topK");
        assertThatThrownBy(bare.layout(Layout.FLAT).topK(2)::build).isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("LOW_LATENCY has no layout FLAT");
        assertThatThrownBy(bare.layout(Layout.RANK_MAJOR).eager()::build).isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("no receive budget");
    }

    @Test
    void aConfigurationIsNotChangedByItsBuilder() {
        EpGroupConfig.Builder builder = EpGroupConfig.highThroughput().experts(8).maxTokensPerRank(8)
                .maxTokenBytes(128);
        EpGroupConfig config = builder.build();
        builder.experts(16).layout(Layout.FLAT).topK(2);
        assertThat(config.experts()).isEqualTo(8);
        assertThat(config.layout()).isNull();
        assertThat(config).hasToString("HIGH_THROUGHPUT, experts 8, maxTokensPerRank 8, maxTokenBytes 128");
        assertThat(builder.build())
                .hasToString("HIGH_THROUGHPUT, experts 16, maxTokensPerRank 8, maxTokenBytes 128, layout FLAT, topK 2");
    }

    @Test
    void theLastChoiceCounts() {
        EpGroupConfig.Builder ht = EpGroupConfig.highThroughput().experts(8).maxTokensPerRank(8).maxTokenBytes(128);
        assertThat(ht.maxReceiveRows(64).eager().build().isEager()).isTrue();
        assertThat(ht.maxReceiveRows(64).build().receiveRows()).isEqualTo(64);
        assertThat(ht.build().isEager()).isFalse();
        EpGroupConfig.Builder ll = EpGroupConfig.lowLatency().experts(8).maxTokensPerRank(8).maxTokenBytes(1024)
                .layout(Layout.RANK_MAJOR).topK(2);
        assertThat(ll.rdmaBufferBytes(1 << 20).growingRdmaBuffer().build().isGrowing()).isTrue();
        assertThat(ll.rdmaBufferBytes(1 << 20).build().isGrowing()).isFalse();
        assertThat(ll.timeout(Duration.ofSeconds(3)).build().timeout()).isEqualTo(Duration.ofSeconds(3));
    }
}
