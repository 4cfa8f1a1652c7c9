package io.nccl4j.ep.graphs;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * What a run of a layer has left in its buffers.
 *
 * @param counts per local expert or per source rank
 * @param offsets of experts' zones
 * @param total rows received, -1 where nobody counts them
 * @param received tokens
 * @param indices received with them
 * @param weights received with them
 * @param combined the rows of T tokens
 */
@SuppressWarnings("ArrayRecordComponent")
record LayerResult(int[] counts, int @Nullable [] offsets, int total, byte[] received, long @Nullable [] indices,
        float @Nullable [] weights, byte[] combined) {
    /** Bit for bit, in rows in use; T may differ. */
    void verifySame(LayerResult other, LayerKind kind, int tokens, int rowBytes, int topK) {
        assertThat(other.counts).isEqualTo(counts);
        assertThat(other.offsets).isEqualTo(offsets);
        assertThat(other.total).isEqualTo(total);
        int zones = kind.isLowLatency() ? counts.length : 1;
        int zoneRows = received.length / rowBytes / zones;
        for (int zone = 0; zone < zones; zone++) {
            int used = kind.isLowLatency() ? counts[zone] : total;
            int first = zone * zoneRows;
            assertThat(Arrays.mismatch(received, first * rowBytes, (first + used) * rowBytes, other.received, first * rowBytes,
                    (first + used) * rowBytes)).as("received, zone %d", zone).isNegative();
            int columns = kind == LayerKind.HT_EXPERT_MAJOR ? 1 : topK;
            if (indices != null) {
                assertThat(Arrays.mismatch(indices, first * columns, (first + used) * columns, other.indices, first * columns,
                        (first + used) * columns)).as("indices, zone %d", zone).isNegative();
            }
            if (weights != null) {
                assertThat(Arrays.mismatch(weights, first * columns, (first + used) * columns, other.weights, first * columns,
                        (first + used) * columns)).as("weights, zone %d", zone).isNegative();
            }
        }
        assertThat(Arrays.mismatch(combined, 0, tokens * rowBytes, other.combined, 0, tokens * rowBytes)).as("combined")
                .isNegative();
    }
}
