package io.nccl4j.testing;

import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.ExpertIds;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.oracle.LayerOracle;
import io.nccl4j.oracle.ReceivedTokens;
import io.nccl4j.oracle.RowFunction;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.function.Function;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The rows that a rank has received, on the host. Rows lie in zones: one for each expert, or for each source rank, or a
 * single one.
 */
final class ReceivedRows {
    private final LayerKind kind;
    private final EpShape shape;
    private final int rank;
    private final boolean global;
    private final HostMirror tokens;
    private final @Nullable HostMirror scales;
    private final @Nullable HostMirror weights;
    private final @Nullable HostMirror indices;
    /** Rows of each expert, or of each source rank. */
    private final HostMirror counters;
    /** Where zones begin, if they are not of one size. */
    private final @Nullable HostMirror offsets;
    private final @Nullable HostMirror total;

    ReceivedRows(LayerKind kind, EpShape shape, int rank, LayerCalls calls,
            Function<@Nullable EpTensor, @Nullable HostMirror> mirrors) {
        this.kind = kind;
        this.shape = shape;
        this.rank = rank;
        LayoutInfo info = calls.counters();
        global = calls.dispatchInfo() != null && calls.dispatchInfo().expertIds() == ExpertIds.GLOBAL;
        tokens = mirrors.apply(calls.outputs().tokens());
        scales = mirrors.apply(calls.outputs().scales());
        weights = mirrors.apply(calls.outputs().weights());
        indices = mirrors.apply(calls.outputs().indices());
        counters = mirrors.apply(kind == LayerKind.LL_RANK_MAJOR ? info.sourceRankCounters() : info.expertCounters());
        offsets = mirrors.apply(info.expertOffsets());
        total = mirrors.apply(info.receivedTotal());
    }

    Stream<HostMirror> mirrors() {
        return Stream.of(tokens, scales, weights, indices, counters, offsets, total).filter(Objects::nonNull);
    }

    /** The work on a row of a zone. */
    @FunctionalInterface
    interface Visitor {
        void row(int zone, long row);
    }

    void forEach(Visitor visitor) {
        HostMirror counts = kind == LayerKind.HT_FLAT ? Objects.requireNonNull(total) : counters;
        int zones = counts.integers().length;
        for (int zone = 0; zone < zones; zone++) {
            long first = offsets == null
                    ? zone * (tokens.rowCount() / zones)
                    : Math.clamp(offsets.integer(zone), 0, tokens.rowCount());
            // A count that is not right yet must not be believed.
            long end = first + Math.clamp(counts.integer(zone), 0, tokens.rowCount() - first);
            for (long row = first; row < end; row++) {
                visitor.row(zone, row);
            }
        }
    }

    /** The output of the experts for a row. */
    byte[] output(int zone, long row, RowFunction experts) {
        int first = rank * shape.localExperts();
        int[] chosen = new int[columns()];
        float[] factors = new float[columns()];
        int count = 0;
        for (int column = 0; column < columns(); column++) {
            long at = row * columns() + column;
            long local = indices == null ? zone : indices.integer(at) - (global ? first : 0);
            if (local >= 0 && local < shape.localExperts()) {
                chosen[count] = first + (int) local;
                factors[count++] = weights == null ? 1 : weights.floats(at);
            }
        }
        return experts.output(Arrays.copyOf(chosen, count), Arrays.copyOf(factors, count), tokens.row(row),
                scales == null ? null : scales.row(row));
    }

    /** All bytes of the rows, zone by zone; sorted where the order within a zone is open. */
    List<List<ByteBuffer>> bytes() {
        List<List<ByteBuffer>> all = new ArrayList<>();
        forEach((zone, row) -> {
            while (all.size() <= zone) {
                all.add(new ArrayList<>());
            }
            byte[] with = scales == null ? new byte[0] : scales.row(row);
            ByteBuffer whole = ByteBuffer
                    .allocate(tokens.rowBytes() + with.length + columns() * (Long.BYTES + Float.BYTES))
                    .put(tokens.row(row)).put(with);
            for (long at = row * columns(); at < (row + 1) * columns(); at++) {
                whole.putLong(indices == null ? 0 : indices.integer(at))
                        .putFloat(weights == null ? 1 : weights.floats(at));
            }
            all.get(zone).add(whole.flip());
        });
        if (kind.isLowLatency()) {
            all.forEach(zone -> zone.sort(null));
        }
        return all;
    }

    /** All of it for the oracle; no work may write it. */
    LayerOracle.Found fetch() {
        mirrors().forEach(HostMirror::fetch);
        return new LayerOracle.Found(new ReceivedTokens(tokens.rows(), scales == null ? null : scales.rows()),
                indices == null ? null : indices.integers(), weights == null ? null : weights.floats(),
                counters.integers(), offsets == null ? null : offsets.integers(), total == null ? 0 : total.integer(0),
                global);
    }

    private int columns() {
        return kind.hasRowPerExpert() ? 1 : shape.topK();
    }
}
