package io.nccl4j.oracle;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Low latency, layout EXPERT_MAJOR: one zone per local expert, a row for each time that a token names the expert. */
public final class LowLatencyExpertMajor {
    private LowLatencyExpertMajor() {
    }

    /** The rows that a rank receives. */
    public static Received dispatch(GlobalInputs inputs, int rank) {
        EpShape shape = inputs.routing().shape();
        List<List<Source>> zones = new ArrayList<>();
        for (int local = 0; local < shape.localExperts(); local++) {
            zones.add(new ArrayList<>());
        }
        for (Source source : inputs.routing().sources()) {
            for (int k = 0; k < shape.topK(); k++) {
                int expert = inputs.routing().expert(source, k);
                if (expert >= 0 && shape.rankOf(expert) == rank) {
                    zones.get(shape.localId(expert)).add(source);
                }
            }
        }
        return new Received(inputs, zones);
    }

    /**
     * The combined rows of a rank: for every token the experts' rows, weighted and added in the order of its top-k
     * list.
     *
     * @param weights {@code [T][K]} of that rank
     * @param format the rows' format
     * @param hidden elements per row
     */
    public static byte[][] combine(Routing routing, int rank, float[][] weights, ExpertOutputs outputs,
            NumberFormat format, int hidden) {
        return combine(routing, rank, weights, outputs, format, hidden, RowSum::addScaled);
    }

    /** The same with recipe NVFP4: rows are bfloat16 and come home in four bits. */
    public static byte[][] combineNvfp4(Routing routing, int rank, float[][] weights, ExpertOutputs outputs,
            RowScale scale, int hidden) {
        return combine(routing, rank, weights, outputs, NumberFormat.BFLOAT16, hidden,
                (sum, row, weight) -> sum.addNvfp4(row, scale.of(row), weight));
    }

    private static byte[][] combine(Routing routing, int rank, float[][] weights, ExpertOutputs outputs,
            NumberFormat format, int hidden, RowSum.Addition addition) {
        byte[][] combined = new byte[routing.tokens(rank)][];
        for (Source source : routing.sources(rank)) {
            RowSum sum = new RowSum(format, hidden);
            for (int k = 0; k < routing.shape().topK(); k++) {
                int expert = routing.expert(source, k);
                if (expert >= 0) {
                    addition.add(sum, outputs.row(expert, source), weights[source.token()][k]);
                }
            }
            combined[source.token()] = sum.rounded();
        }
        return combined;
    }

    /**
     * The rows that a rank receives.
     *
     * @param inputs what all ranks sent
     * @param zones for every local expert, the tokens in its zone; their order is open
     */
    public record Received(GlobalInputs inputs, List<List<Source>> zones) {

        /** {@code expert_counters}. */
        public int[] counters() {
            return zones.stream().mapToInt(List::size).toArray();
        }

        /**
         * Compares {@code outputs.tokens [L, R*B, ...]}, scales and {@code expert_counters}.
         *
         * @param untouched what the outputs were filled with before, to check that unused rows still hold it; null
         *     for no check
         * @return for every zone, the source of each row in the order found
         */
        public List<List<Source>> verify(ReceivedTokens rows, int[] counters, @Nullable Byte untouched) {
            Counters.verify("expert_counters", counters(), counters);
            EpShape shape = inputs.routing().shape();
            int capacity = shape.ranks() * shape.maxTokens();
            List<List<Source>> order = new ArrayList<>();
            for (int local = 0; local < zones.size(); local++) {
                List<Source> zone = zones.get(local);
                int first = local * capacity;
                String what = "zone of local expert " + local;
                order.add(new UnorderedRows(inputs, zone).match(rows, first, what));
                if (untouched != null) {
                    rows.verifyFilled(first + zone.size(), first + capacity, untouched, "unused, " + what + ",");
                }
            }
            return order;
        }
    }
}
