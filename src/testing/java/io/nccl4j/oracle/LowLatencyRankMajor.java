package io.nccl4j.oracle;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Low latency, layout RANK_MAJOR: one region per source rank, a row for each of its tokens that has an expert here. */
public final class LowLatencyRankMajor {
    private LowLatencyRankMajor() {
    }

    /** The rows that a rank receives. */
    public static Received dispatch(GlobalInputs inputs, int rank) {
        List<List<Source>> regions = new ArrayList<>();
        for (int from = 0; from < inputs.routing().shape().ranks(); from++) {
            regions.add(inputs.routing().sources(from).stream().filter(s -> inputs.routing().goesTo(s, rank)).toList());
        }
        return new Received(inputs, rank, regions);
    }

    /**
     * The combined rows of a rank: for every token the rows of its destination ranks, each once, added in the order in
     * which the ranks first occur in its top-k list.
     */
    public static byte[][] combine(Routing routing, int rank, RankOutputs outputs, NumberFormat format, int hidden) {
        return combine(routing, rank, outputs, format, hidden, RowSum::addScaled);
    }

    /** The same with recipe NVFP4: rows are bfloat16 and come home in four bits. */
    public static byte[][] combineNvfp4(Routing routing, int rank, RankOutputs outputs, RowScale scale, int hidden) {
        return combine(routing, rank, outputs, NumberFormat.BFLOAT16, hidden,
                (sum, row, weight) -> sum.addNvfp4(row, scale.of(row), weight));
    }

    private static byte[][] combine(Routing routing, int rank, RankOutputs outputs, NumberFormat format, int hidden,
            RowSum.Addition addition) {
        EpShape shape = routing.shape();
        byte[][] combined = new byte[routing.tokens(rank)][];
        for (Source source : routing.sources(rank)) {
            RowSum sum = new RowSum(format, hidden);
            boolean[] added = new boolean[shape.ranks()];
            for (int k = 0; k < shape.topK(); k++) {
                int expert = routing.expert(source, k);
                if (expert >= 0 && !added[shape.rankOf(expert)]) {
                    added[shape.rankOf(expert)] = true;
                    addition.add(sum, outputs.row(shape.rankOf(expert), source), 1);
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
     * @param rank the receiving rank
     * @param regions for every source rank, the tokens in its region; their order is open
     */
    public record Received(GlobalInputs inputs, int rank, List<List<Source>> regions) {

        /** {@code src_rank_counters}. */
        public int[] counters() {
            return regions.stream().mapToInt(List::size).toArray();
        }

        /**
         * {@code outputs.topk_idx} of a received token: local or global ids of the experts here, -1 in the other
         * places.
         */
        public int[] indices(Source source, boolean global) {
            EpShape shape = inputs.routing().shape();
            int[] indices = new int[shape.topK()];
            for (int k = 0; k < indices.length; k++) {
                int expert = inputs.routing().expert(source, k);
                indices[k] = expert < 0 || shape.rankOf(expert) != rank ? -1 : global ? expert : shape.localId(expert);
            }
            return indices;
        }

        /**
         * Compares the outputs. Token rows must differ from each other, since their bytes tell where they came from.
         *
         * @param rows {@code outputs.tokens [R, B, ...]}
         * @param indices {@code outputs.topk_idx [R, B, K]}
         * @param weights {@code outputs.topk_weights [R, B, K]}
         * @param counters {@code src_rank_counters [R]}
         * @param global whether ids are global
         * @param untouched what tokens and scales were filled with before, to check that unused rows still hold it;
         *     null for no
         *        check
         * @return for every source rank, the source of each row in the order found
         */
        public List<List<Source>> verify(ReceivedTokens rows, int[] indices, float[] weights, int[] counters,
                boolean global, @Nullable Byte untouched) {
            Counters.verify("src_rank_counters", counters(), counters);
            EpShape shape = inputs.routing().shape();
            int capacity = shape.maxTokens();
            int topK = shape.topK();
            int[] none = new int[topK];
            Arrays.fill(none, -1);
            List<List<Source>> order = new ArrayList<>();
            for (int from = 0; from < regions.size(); from++) {
                int first = from * capacity;
                String what = "region of rank " + from;
                List<Source> found = new UnorderedRows(inputs, regions.get(from)).match(rows, first, what);
                order.add(found);
                for (int i = 0; i < capacity; i++) {
                    int at = (first + i) * topK;
                    boolean used = i < found.size();
                    Counters.verify("topk_idx, row " + i + ", " + what, used ? indices(found.get(i), global) : none,
                            Arrays.copyOfRange(indices, at, at + topK));
                    if (used) {
                        verifyWeights(found.get(i), Arrays.copyOfRange(weights, at, at + topK));
                    }
                }
                if (untouched != null) {
                    rows.verifyFilled(first + found.size(), first + capacity, untouched, "unused, " + what + ",");
                }
            }
            return order;
        }

        private void verifyWeights(Source source, float[] actual) {
            if (!Arrays.equals(inputs.weights(source), actual)) {
                throw new Mismatch("topk_weights of " + source + ": " + Arrays.toString(actual) + ", expected "
                        + Arrays.toString(inputs.weights(source)));
            }
        }
    }
}
