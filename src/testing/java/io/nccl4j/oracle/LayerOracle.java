package io.nccl4j.oracle;

import io.nccl4j.ep.Layout;
import java.util.Arrays;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * A whole layer: the rows that it must give for what all ranks send, with the roundings that NCCL EP documents. Which
 * of its weights survives if a token names an expert twice is open in high throughput, so such tokens are for low
 * latency only.
 *
 * @param lowLatency the algorithm: low latency, or high throughput
 * @param inputs as they are received
 * @param format of combined rows, {@code hidden} elements each
 * @param budget of received rows in high throughput
 * @param mode of high throughput, EXPERT_MAJOR
 * @param alignment of the experts' zones there
 * @param fourBits whether rows come home in four bits, by {@link #outputScale}; low latency only
 */
public record LayerOracle(boolean lowLatency, Layout layout, GlobalInputs inputs, NumberFormat format, int hidden,
        RowFunction experts, ReceiveBudget budget, ExpertMajorMode mode, int alignment, boolean fourBits) {
    /** The largest product of a value in four bits and a block's scale. */
    private static final float LARGEST = 2688;

    /**
     * The outputs and counters of one rank's dispatch; null for one that is not there.
     *
     * @param counters rows of each local expert, or in RANK_MAJOR of each source rank
     * @param total of high throughput
     * @param global whether indices are global expert numbers
     */
    @SuppressWarnings("ArrayRecordComponent")
    public record Found(ReceivedTokens rows, long @Nullable [] indices, float @Nullable [] weights, long[] counters,
            long @Nullable [] offsets, long total, boolean global) {
    }

    /**
     * Compares everything that a rank has received.
     *
     * @param written which rows a dispatch of high throughput writes
     * @param untouched what outputs were filled with before; null for no check of rows that are not in use
     */
    public void verifyReceived(int rank, Found found, RowsWritten written, @Nullable Byte untouched) {
        switch (layout) {
            case RANK_MAJOR -> LowLatencyRankMajor.dispatch(inputs, rank).verify(found.rows,
                    ints(Objects.requireNonNull(found.indices)), Objects.requireNonNull(found.weights),
                    ints(found.counters), found.global, untouched);
            case FLAT -> {
                HighThroughputFlat.Received expected = HighThroughputFlat.dispatch(inputs, flatSlots(), rank);
                expected.verifyCounters(ints(found.counters), found.total);
                expected.verify(new HighThroughputFlat.Outputs(found.rows, found.indices, found.weights), found.global,
                        written, untouched);
            }
            case EXPERT_MAJOR -> {
                if (lowLatency) {
                    LowLatencyExpertMajor.dispatch(inputs, rank).verify(found.rows, ints(found.counters), untouched);
                } else {
                    HighThroughputExpertMajor.Received expected = HighThroughputExpertMajor.dispatch(inputs,
                            zoneSlots(), rank);
                    expected.verifyCounters(found.counters, Objects.requireNonNull(found.offsets), found.total);
                    expected.verify(new HighThroughputExpertMajor.Outputs(found.rows, found.weights), written,
                            untouched);
                }
            }
        }
    }

    /** The combined rows of a rank's tokens. */
    public byte[][] combined(int rank) {
        return switch (layout) {
            case RANK_MAJOR -> {
                RankOutputs summed = (at, source) -> output(source, inTopKOrder(source, at));
                yield fourBits
                        ? LowLatencyRankMajor.combineNvfp4(inputs.routing(), rank, summed, LayerOracle::outputScale,
                                hidden)
                        : LowLatencyRankMajor.combine(inputs.routing(), rank, summed, format, hidden);
            }
            case FLAT -> HighThroughputFlat.combine(flatSlots(), rank, this::output, format, hidden);
            case EXPERT_MAJOR -> {
                if (!lowLatency) {
                    yield HighThroughputExpertMajor.combine(zoneSlots(), rank, this::output, format, hidden);
                }
                float[][] weights = inputs.weights()[rank];
                yield fourBits
                        ? LowLatencyExpertMajor.combineNvfp4(inputs.routing(), rank, weights, this::unweighted,
                                LayerOracle::outputScale, hidden)
                        : LowLatencyExpertMajor.combine(inputs.routing(), rank, weights, this::unweighted, format,
                                hidden);
            }
        };
    }

    /** A row that the experts of a rank give to combine in a backward pass, with the gradients of its weights. */
    @FunctionalInterface
    public interface BackwardRow {
        /** @param slot of the row, and of its gradients */
        void put(long slot, byte[] row, float[] gradients);
    }

    /** All rows of a rank in a backward pass of high throughput, in the places where they were received. */
    public void backward(int rank, WeightGradients gradients, BackwardRow to) {
        FlatSlots rows = flatSlots();
        ExpertMajorSlots zones = layout == Layout.FLAT ? null : zoneSlots();
        for (Source source : inputs.routing().sources()) {
            int[] chosen = ascending(source, rank);
            if (zones == null) {
                put(rows.slot(source, rank), source, rank, gradients, to, chosen);
                continue;
            }
            for (int expert : chosen) {
                put(zones.slot(source, expert), source, expert, gradients, to, expert);
            }
        }
    }

    private void put(long slot, Source source, int owner, WeightGradients gradients, BackwardRow to, int... experts) {
        if (slot >= 0 && experts.length > 0) {
            float[] values = new float[experts.length];
            for (int i = 0; i < values.length; i++) {
                values[i] = gradients.of(experts[i], source);
            }
            to.put(slot, output(owner, source), values);
        }
    }

    /**
     * Compares the gradients that a backward combine has added up.
     *
     * @param combined {@code [tokens, topK]}: zeros behind those of the batch
     */
    public void verifyGradients(int rank, WeightGradients gradients, float[] combined, int tokens) {
        int topK = inputs.routing().shape().topK();
        float[][] expected = layout == Layout.FLAT
                ? HighThroughputFlat.combineWeights(flatSlots(), rank, gradients)
                : HighThroughputExpertMajor.combineWeights(zoneSlots(), rank, gradients);
        for (int token = 0; token < tokens; token++) {
            float[] wanted = token < expected.length ? expected[token] : new float[topK];
            float[] found = Arrays.copyOfRange(combined, token * topK, (token + 1) * topK);
            if (!Arrays.equals(wanted, found)) {
                throw new Mismatch("gradients of the weights of token " + token + ": " + Arrays.toString(found)
                        + ", expected " + Arrays.toString(wanted));
            }
        }
    }

    private FlatSlots flatSlots() {
        return new FlatSlots(inputs.routing(), budget);
    }

    private ExpertMajorSlots zoneSlots() {
        return new ExpertMajorSlots(inputs.routing(), budget, mode, alignment);
    }

    private byte[] unweighted(int expert, Source source) {
        return experts.output(new int[]{expert}, new float[]{1}, inputs.token(source), inputs.scales(source));
    }

    /** The row of high throughput for a token: of an expert, or in FLAT of a rank's. */
    private byte[] output(int owner, Source source) {
        return output(source, layout == Layout.FLAT ? ascending(source, owner) : new int[]{owner});
    }

    /** The output of experts of a rank for a token, by its weights if it has any. */
    private byte[] output(Source source, int[] chosen) {
        float[] weights = new float[chosen.length];
        boolean[] taken = new boolean[inputs.routing().shape().topK()];
        for (int i = 0; i < chosen.length && inputs.weights() != null; i++) {
            int k = 0;
            while (inputs.routing().expert(source, k) != chosen[i] || taken[k]) {
                k++;
            }
            taken[k] = true;
            weights[i] = inputs.weights(source)[k];
        }
        return experts.output(chosen, weights, inputs.token(source), inputs.scales(source));
    }

    private int[] inTopKOrder(Source source, int rank) {
        EpShape shape = inputs.routing().shape();
        return Arrays.stream(inputs.routing().of(source.rank())[source.token()])
                .filter(expert -> expert >= 0 && shape.rankOf(expert) == rank).toArray();
    }

    private int[] ascending(Source source, int rank) {
        int first = rank * inputs.routing().shape().localExperts();
        return Arrays.stream(inputs.routing().localExperts(source, rank)).map(local -> first + local).toArray();
    }

    private static int[] ints(long[] values) {
        return Arrays.stream(values).mapToInt(Math::toIntExact).toArray();
    }

    /** The scale that experts give to a bfloat16 row that comes home in four bits. */
    public static float outputScale(byte[] row) {
        float largest = 0;
        for (float value : NumberFormat.BFLOAT16.decodeRow(row)) {
            largest = Math.max(largest, Math.abs(value));
        }
        return largest == 0 ? 1 : LARGEST / largest;
    }
}
