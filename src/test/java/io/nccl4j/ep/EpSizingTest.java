package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.nccl.DataType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class EpSizingTest {
    private static EpGroupConfig lowLatency(Layout layout, int tokens) {
        return EpGroupConfig.lowLatency().experts(256).maxTokensPerRank(tokens).maxTokenBytes(7168 * 2).layout(layout)
                .topK(8);
    }

    /** Published figures for hidden 7168 in bfloat16, 256 experts and top-8. */
    @ParameterizedTest
    @CsvSource({"128, 8, EXPERT_MAJOR, 938", "128, 8, RANK_MAJOR, 57", "128, 64, EXPERT_MAJOR, 938",
            "128, 64, RANK_MAJOR, 256", "512, 8, EXPERT_MAJOR, 3754", "512, 8, RANK_MAJOR, 228"})
    void rdmaBufferBytes(int tokens, int ranks, Layout layout, long mebibytes) {
        long bytes = EpSizing.of(lowLatency(layout, tokens), ranks).rdmaBufferBytes();
        assertThat(bytes % 128).isZero();
        assertThat((double) bytes / (1 << 20)).isBetween(mebibytes - 1.0, mebibytes + 1.0);
    }

    /** The formula once more, written out for a small shape. */
    @Test
    void rdmaBufferBytesByHand() {
        EpGroupConfig config = EpGroupConfig.lowLatency().experts(4).maxTokensPerRank(4).maxTokenBytes(1024)
                .layout(Layout.EXPERT_MAJOR).topK(2);
        long dispatchMessage = 16 + 1024;
        long combineMessage = 1024 + 4 * 4;
        long slot = Math.max(4 * dispatchMessage + 2 * 4 * dispatchMessage,
                4 * 4 * combineMessage + 4 * 2 * combineMessage);
        assertThat(EpSizing.of(config, 2).rdmaBufferBytes()).isEqualTo(2 * slot + 2 * 128);
    }

    @Test
    void receiveRowsAreTheWorstCaseUnlessGiven() {
        EpGroupConfig ht = EpGroupConfig.highThroughput().experts(16).maxTokensPerRank(32).maxTokenBytes(128);
        assertThat(EpSizing.of(ht.layout(Layout.FLAT).topK(4), 8).receiveRows()).isEqualTo(8 * 32);
        EpGroupConfig zones = ht.layout(Layout.EXPERT_MAJOR).topK(4);
        // Two local experts at most take a token of top-4.
        assertThat(EpSizing.of(zones, 8).receiveRows()).isEqualTo(8 * 32 * 2);
        // Zones of 512 rows and a rest in each.
        assertThat(EpSizing.of(zones.alignment(64), 8).receiveRows()).isEqualTo(8 * 32 * 2 + 128);
        assertThat(EpSizing.of(zones.maxReceiveRows(100), 8).receiveRows()).isEqualTo(100);
        assertThat(EpSizing.of(zones.eager(), 8).receiveRows()).isEqualTo(8 * 32 * 4);
        assertThat(EpSizing.of(lowLatency(Layout.EXPERT_MAJOR, 128), 8).receiveRows()).isEqualTo(32L * 8 * 128);
        assertThat(EpSizing.of(lowLatency(Layout.RANK_MAJOR, 128), 8).receiveRows()).isEqualTo(8 * 128);
    }

    @Test
    void bytesOfBuffers() {
        EpSizing sizing = EpSizing.of(lowLatency(Layout.EXPERT_MAJOR, 128), 8);
        long received = 32L * 8 * 128 * 7168 * 2;
        assertThat(sizing.receivedBytes(7168, DataType.BFLOAT16)).isEqualTo(received);
        assertThat(sizing.buffersBytes(BufferConfig.of(7168, DataType.BFLOAT16)))
                .isEqualTo(2 * received + 2 * 128L * 7168 * 2 + 128 * 8 * 8 + 128 * 8 * 4 + 32 * 4);
        assertIllegalArgument(() -> EpSizing.of(lowLatency(Layout.EXPERT_MAJOR, 128), 7), "256 experts on 7 ranks");
        EpGroupConfig open = EpGroupConfig.highThroughput().experts(8).maxTokensPerRank(8).maxTokenBytes(128);
        assertIllegalState(() -> EpSizing.of(open, 2).buffersBytes(BufferConfig.of(64, DataType.BFLOAT16)),
                "no layout");
    }

    @Test
    void windowOfAHighThroughputGroup() {
        EpGroupConfig config = EpGroupConfig.highThroughput().experts(8).maxTokensPerRank(16).maxTokenBytes(128)
                .layout(Layout.FLAT).topK(2).maxReceiveRows(64);
        long tokens = 2 * 16 * 128;
        long weights = 64 * 8 * 4;
        long scales = 64 * 128;
        assertThat(EpSizing.of(config, 2).windowBytes()).isEqualTo(2 * tokens + 2 * weights + scales);
    }
}
