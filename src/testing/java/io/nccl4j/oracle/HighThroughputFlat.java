package io.nccl4j.oracle;

import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** High throughput, layout FLAT: a row per token and destination rank, in the order of the sources. */
public final class HighThroughputFlat {
    private HighThroughputFlat() {
    }

    /** The rows that a rank receives. */
    public static Received dispatch(GlobalInputs inputs, FlatSlots slots, int rank) {
        return new Received(inputs, slots, rank);
    }

    /**
     * The combined rows of a rank: the unweighted sum of its destination ranks' rows, ranks ascending, rounded once;
     * see {@link TeamSum} for several teams.
     */
    public static byte[][] combine(FlatSlots slots, int rank, RankOutputs outputs, NumberFormat format, int hidden) {
        Routing routing = slots.routing();
        byte[][] combined = new byte[routing.tokens(rank)][];
        for (Source source : routing.sources(rank)) {
            combined[source.token()] = TeamSum.of(routing.shape(), rank, format, hidden, (sum, destination) -> {
                if (slots.slot(source, destination) >= 0) {
                    sum.add(outputs.row(destination, source));
                }
            });
        }
        return combined;
    }

    /**
     * {@code outputs.topk_weights} of a backward combine: for every top-k entry the gradient given for it, 0 for none.
     */
    public static float[][] combineWeights(FlatSlots slots, int rank, WeightGradients gradients) {
        return gradients.combined(slots.routing(), rank,
                (source, expert) -> slots.slot(source, slots.routing().shape().rankOf(expert)));
    }

    /**
     * The outputs of one rank's dispatch.
     *
     * @param indices {@code outputs.topk_idx [rows, K]}, or null in a backward pass
     * @param weights {@code outputs.topk_weights [rows, K]}, or null in a backward pass
     */
    public record Outputs(ReceivedTokens rows, long @Nullable [] indices, float @Nullable [] weights) {
    }

    /** The rows that a rank receives. */
    public static final class Received {
        private final GlobalInputs inputs;
        private final FlatSlots slots;
        private final int rank;
        private final List<Source> sources;

        Received(GlobalInputs inputs, FlatSlots slots, int rank) {
            this.inputs = inputs;
            this.slots = slots;
            this.rank = rank;
            sources = slots.kept(rank);
        }

        /** The source of every row. */
        public List<Source> sources() {
            return sources;
        }

        /** {@code expert_counters}: tokens kept for each local expert. */
        public int[] counters() {
            int[] counters = new int[slots.routing().shape().localExperts()];
            for (Source source : sources) {
                for (int local : slots.routing().localExperts(source, rank)) {
                    counters[local]++;
                }
            }
            return counters;
        }

        /** {@code recv_total_counter}. */
        public int total() {
            return slots.total(rank);
        }

        /** Compares {@code expert_counters} and {@code recv_total_counter}. */
        public void verifyCounters(int[] counters, long total) {
            Counters.verify("expert_counters", counters(), counters);
            if (total != total()) {
                throw new Mismatch("recv_total_counter " + total + ", expected " + total());
            }
        }

        /**
         * Compares the outputs.
         *
         * @param global whether indices are global expert numbers
         * @param written which rows the call writes
         * @param untouched what every output byte was filled with before, to check what must not be written; null
         *     for no check
         */
        public void verify(Outputs actual, boolean global, RowsWritten written, @Nullable Byte untouched) {
            for (int row = 0; row < sources.size(); row++) {
                Source source = sources.get(row);
                actual.rows.verifyRow(row, inputs, source, source.toString());
                if (actual.indices != null && actual.weights != null) {
                    verifyExperts(source, row, actual.indices, actual.weights, global);
                }
            }
            if (untouched != null && written != RowsWritten.BUDGET) {
                actual.rows.verifyFilled(sources.size(), actual.rows.tokens().count(), untouched, "unused");
            }
            if (actual.indices != null && actual.weights != null) {
                verifyUnusedExperts(actual.indices, actual.weights, written, untouched);
            }
        }

        private void verifyExperts(Source source, int row, long[] indices, float[] weights, boolean global) {
            EpShape shape = slots.routing().shape();
            int[] local = slots.routing().localExperts(source, rank);
            long[] expected = new long[shape.topK()];
            Arrays.fill(expected, -1);
            for (int i = 0; i < local.length; i++) {
                expected[i] = global ? rank * shape.localExperts() + local[i] : local[i];
            }
            int at = row * shape.topK();
            String what = "row " + row + " (" + source + ")";
            Counters.verify("topk_idx, " + what, expected, Arrays.copyOfRange(indices, at, at + shape.topK()));
            for (int i = 0; i < shape.topK(); i++) {
                float weight = weights[at + i];
                if (i < local.length) {
                    RoutedWeights.verify(inputs, source, rank * shape.localExperts() + local[i], weight, what);
                } else if (Float.floatToRawIntBits(weight) != 0) {
                    throw new Mismatch("topk_weights, " + what + ", column " + i + ": " + weight + ", expected 0");
                }
            }
        }

        private void verifyUnusedExperts(long[] indices, float[] weights, RowsWritten written,
                @Nullable Byte untouched) {
            int topK = slots.routing().shape().topK();
            int cleared = written == RowsWritten.COUNT ? sources.size() : slots.budget().rows();
            for (int i = sources.size() * topK; i < indices.length; i++) {
                boolean clear = i < (long) cleared * topK;
                if (!clear && untouched == null) {
                    return;
                }
                long index = clear ? -1 : 0x0101010101010101L * (untouched & 0xff);
                int weight = clear ? 0 : 0x01010101 * (untouched & 0xff);
                if (indices[i] != index || Float.floatToRawIntBits(weights[i]) != weight) {
                    throw new Mismatch("unused row " + i / topK + ", column " + i % topK + ": topk_idx " + indices[i]
                            + ", topk_weights " + weights[i] + ", expected " + (clear ? "-1 and 0" : "both untouched"));
                }
            }
        }
    }
}
