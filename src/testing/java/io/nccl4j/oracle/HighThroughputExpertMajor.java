package io.nccl4j.oracle;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** High throughput, layout EXPERT_MAJOR: a padded zone per local expert, tokens in the order of their sources. */
public final class HighThroughputExpertMajor {
    private HighThroughputExpertMajor() {
    }

    /** The rows that a rank receives. */
    public static Received dispatch(GlobalInputs inputs, ExpertMajorSlots slots, int rank) {
        return new Received(inputs, slots, rank);
    }

    /**
     * The combined rows of a rank: the unweighted sum of the experts' rows, by rank and local expert. Unless the mode
     * is NVLINK_DUP, each rank's part is rounded before the parts are added.
     */
    public static byte[][] combine(ExpertMajorSlots slots, int rank, ExpertOutputs outputs, NumberFormat format,
            int hidden) {
        Routing routing = slots.routing();
        EpShape shape = routing.shape();
        byte[][] combined = new byte[routing.tokens(rank)][];
        for (Source source : routing.sources(rank)) {
            combined[source.token()] = TeamSum.of(shape, rank, format, hidden, (sum, destination) -> {
                RowSum part = slots.mode() == ExpertMajorMode.NVLINK_DUP ? sum : new RowSum(format, hidden);
                for (int local : routing.localExperts(source, destination)) {
                    int expert = destination * shape.localExperts() + local;
                    if (slots.slot(source, expert) >= 0) {
                        part.add(outputs.row(expert, source));
                    }
                }
                if (part != sum) {
                    sum.add(part.rounded());
                }
            });
        }
        return combined;
    }

    /**
     * {@code outputs.topk_weights} of a backward combine: for every top-k entry the gradient given for it, 0 for none.
     */
    public static float[][] combineWeights(ExpertMajorSlots slots, int rank, WeightGradients gradients) {
        return gradients.combined(slots.routing(), rank, slots::slot);
    }

    /**
     * The outputs of one rank's dispatch.
     *
     * @param weights {@code outputs.topk_weights [rows]}, or null in a backward pass
     */
    public record Outputs(ReceivedTokens rows, float @Nullable [] weights) {
    }

    /** The rows that a rank receives. */
    public static final class Received {
        private final GlobalInputs inputs;
        private final ExpertMajorSlots slots;
        private final int rank;
        private final List<ExpertMajorSlots.Entry> rows;

        Received(GlobalInputs inputs, ExpertMajorSlots slots, int rank) {
            this.inputs = inputs;
            this.slots = slots;
            this.rank = rank;
            rows = slots.rows(rank);
        }

        /** The source of the row in a slot, or null if the row is padding or was dropped. */
        public @Nullable Source source(int slot) {
            ExpertMajorSlots.Entry entry = rows.get(slot);
            return entry == null ? null : entry.source();
        }

        /** Rows in all zones within the budget, padding included. */
        public int count() {
            return rows.size();
        }

        /** Compares {@code expert_counters}, {@code expert_offsets} and {@code recv_total_counter}. */
        public void verifyCounters(long[] counters, long[] offsets, long total) {
            Counters.verify("expert_counters", slots.counters(rank), counters);
            Counters.verify("expert_offsets", slots.offsets(rank), offsets);
            if (total != slots.total(rank)) {
                throw new Mismatch("recv_total_counter " + total + ", expected " + slots.total(rank));
            }
        }

        /**
         * Compares the outputs.
         *
         * @param written which rows the call writes; without meaning in mode LOCAL_PERMUTE, which writes the zones
         * @param untouched what every output byte was filled with before, to check what must not be written; null
         *     for no check
         */
        public void verify(Outputs actual, RowsWritten written, @Nullable Byte untouched) {
            for (int row = 0; row < rows.size(); row++) {
                ExpertMajorSlots.Entry entry = rows.get(row);
                if (entry == null) {
                    verifyZero(actual, row, "padding");
                } else {
                    verifyEntry(actual, row, entry);
                }
            }
            verifyUnused(actual, written, untouched);
        }

        private void verifyEntry(Outputs actual, int row, ExpertMajorSlots.Entry entry) {
            String what = entry.source() + ", expert " + entry.expert();
            actual.rows.verifyRow(row, inputs, entry.source(), what);
            if (actual.weights != null) {
                RoutedWeights.verify(inputs, entry.source(), entry.expert(), actual.weights[row], "row " + row);
            }
        }

        private static void verifyZero(Outputs actual, int row, String what) {
            actual.rows.verifyFilled(row, row + 1, (byte) 0, what);
            verifyWeight(actual, row, 0, what);
        }

        private static void verifyWeight(Outputs actual, int row, int bits, String what) {
            if (actual.weights != null && Float.floatToRawIntBits(actual.weights[row]) != bits) {
                throw new Mismatch("topk_weights, " + what + " row " + row + ": " + actual.weights[row] + ", expected "
                        + Float.intBitsToFloat(bits));
            }
        }

        private void verifyUnused(Outputs actual, RowsWritten written, @Nullable Byte untouched) {
            boolean permute = slots.mode() == ExpertMajorMode.LOCAL_PERMUTE;
            int budget = slots.budget().fixed() ? slots.budget().rows() : 0;
            int first = rows.size();
            int end = actual.rows.tokens().count();
            int cleared = permute && slots.budget().drops() ? Math.max(first, Math.min(budget, end)) : first;
            for (int row = first; row < cleared; row++) {
                verifyZero(actual, row, "cleared");
            }
            if (untouched != null && (permute || written != RowsWritten.BUDGET)) {
                actual.rows.verifyFilled(cleared, end, untouched, "unused");
            }
            int weightsCleared = permute || written == RowsWritten.COUNT ? cleared : Math.max(cleared, budget);
            int weightRows = actual.weights == null ? 0 : actual.weights.length;
            for (int row = cleared; row < Math.min(weightsCleared, weightRows); row++) {
                verifyWeight(actual, row, 0, "unused");
            }
            if (untouched != null) {
                for (int row = weightsCleared; row < weightRows; row++) {
                    verifyWeight(actual, row, 0x01010101 * (untouched & 0xff), "unused");
                }
            }
        }
    }
}
