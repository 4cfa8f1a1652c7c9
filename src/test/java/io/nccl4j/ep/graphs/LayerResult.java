package io.nccl4j.ep.graphs;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.oracle.Rows;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What a run of a layer has left in its buffers.
 *
 * @param counts per local expert or per source rank
 * @param offsets of experts' zones
 * @param total rows received, -1 where nobody counts them
 * @param received tokens
 * @param receivedScales with them
 * @param indices received with them
 * @param weights received with them
 * @param combined the rows of T tokens
 */
@SuppressWarnings("ArrayRecordComponent")
record LayerResult(int[] counts, int @Nullable [] offsets, int total, Rows received,
        @Nullable Rows receivedScales, long @Nullable [] indices, float @Nullable [] weights, Rows combined) {
    /** Bit for bit, in rows in use; T may differ. The order of rows within a zone of low latency is open. */
    void verifySame(LayerResult other, LayerKind kind, int tokens, int topK) {
        assertThat(other.counts).isEqualTo(counts);
        assertThat(other.offsets).isEqualTo(offsets);
        assertThat(other.total).isEqualTo(total);
        int zones = kind.isLowLatency() ? counts.length : 1;
        int zoneRows = received.count() / zones;
        int columns = kind == LayerKind.HT_EXPERT_MAJOR ? 1 : topK;
        for (int zone = 0; zone < zones; zone++) {
            int first = zone * zoneRows;
            int end = first + (kind.isLowLatency() ? counts[zone] : total);
            List<ByteBuffer> rows = rows(first, end, columns);
            List<ByteBuffer> others = other.rows(first, end, columns);
            if (kind.isLowLatency()) {
                Collections.sort(rows);
                Collections.sort(others);
            }
            assertThat(others).as("zone %d", zone).isEqualTo(rows);
        }
        int bytes = tokens * combined.rowBytes();
        assertThat(Arrays.mismatch(combined.data(), 0, bytes, other.combined.data(), 0, bytes)).as("combined")
                .isNegative();
    }

    /** Everything received with a row, for each. */
    private List<ByteBuffer> rows(int first, int end, int columns) {
        List<ByteBuffer> rows = new ArrayList<>();
        for (int row = first; row < end; row++) {
            byte[] scales = receivedScales == null ? new byte[0] : receivedScales.row(row);
            ByteBuffer whole = ByteBuffer
                    .allocate(received.rowBytes() + scales.length + columns * (Long.BYTES + Float.BYTES));
            whole.put(received.row(row)).put(scales);
            for (int i = row * columns; i < (row + 1) * columns; i++) {
                whole.putLong(indices == null ? 0 : indices[i]).putFloat(weights == null ? 0 : weights[i]);
            }
            rows.add(whole.flip());
        }
        return rows;
    }
}
