package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import org.junit.jupiter.api.Test;

class EpGroupConfigTest {
    private static final int RANKS = 2;

    private static EpGroupConfig sized(EpGroupConfig config) {
        return config.experts(8).maxTokensPerRank(8).maxTokenBytes(1024);
    }

    private static void refused(EpGroupConfig config, String message) {
        assertIllegalArgument(() -> EpSizing.of(config, RANKS), message);
    }

    @Test
    void lowLatencyNamesItsShape() {
        EpGroupConfig bare = sized(EpGroupConfig.lowLatency());
        refused(bare, "must name its layout");
        refused(bare.layout(Layout.EXPERT_MAJOR), "must name its topK");
        refused(bare.layout(Layout.FLAT).topK(2), "LOW_LATENCY has no layout FLAT");
        refused(bare.layout(Layout.RANK_MAJOR).topK(2).eager(), "no receive budget");
    }

    @Test
    void allBrokenRulesAreToldTogether() {
        refused(EpGroupConfig.lowLatency().experts(8).maxTokensPerRank(8).maxTokenBytes(1000),
                "3 rules are broken: maxTokenBytes is 1000: must be a multiple of 16, such as 1008; a low-latency "
                        + "group must name its layout, EXPERT_MAJOR or RANK_MAJOR; a low-latency group must name its "
                        + "topK");
    }

    @Test
    void aConfigurationDoesNotChange() {
        EpGroupConfig config = sized(EpGroupConfig.highThroughput());
        EpGroupConfig changed = config.experts(16).layout(Layout.FLAT).topK(2);
        assertThat(config.experts()).isEqualTo(8);
        assertThat(config.layout()).isNull();
        assertThat(config).hasToString("HIGH_THROUGHPUT, experts 8, maxTokensPerRank 8, maxTokenBytes 1024");
        assertThat(changed).hasToString(
                "HIGH_THROUGHPUT, experts 16, maxTokensPerRank 8, maxTokenBytes 1024, layout FLAT, topK 2");
    }

    @Test
    void theLastChoiceCounts() {
        EpGroupConfig ht = sized(EpGroupConfig.highThroughput());
        assertThat(ht.maxReceiveRows(64).eager().isEager()).isTrue();
        assertThat(ht.maxReceiveRows(64).eager().receiveRows()).isZero();
        assertThat(ht.eager().maxReceiveRows(64).receiveRows()).isEqualTo(64);
        assertThat(ht.eager().maxReceiveRows(64).isEager()).isFalse();
        EpGroupConfig ll = sized(EpGroupConfig.lowLatency()).layout(Layout.RANK_MAJOR).topK(2);
        assertThat(ll.rdmaBufferBytes(1 << 20).growingRdmaBuffer().isGrowing()).isTrue();
        assertThat(ll.growingRdmaBuffer().rdmaBufferBytes(1 << 20).isGrowing()).isFalse();
        assertThat(ll.timeout(Duration.ofSeconds(3)).timeout()).isEqualTo(Duration.ofSeconds(3));
    }
}
