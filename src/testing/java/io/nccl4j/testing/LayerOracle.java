package io.nccl4j.testing;

import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.CombineRecipe;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.OverflowPolicy;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.oracle.ExpertMajorMode;
import io.nccl4j.oracle.ExpertMajorSlots;
import io.nccl4j.oracle.FlatSlots;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.HighThroughputExpertMajor;
import io.nccl4j.oracle.HighThroughputFlat;
import io.nccl4j.oracle.LowLatencyExpertMajor;
import io.nccl4j.oracle.LowLatencyRankMajor;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.RankOutputs;
import io.nccl4j.oracle.ReceiveBudget;
import io.nccl4j.oracle.Source;
import io.nccl4j.oracle.WeightGradients;
import java.util.Arrays;

/**
 * The rows that a layer must give for what all ranks send, with the roundings that NCCL EP documents. Which of its
 * weights survives if a token names an expert twice is open in high throughput, so such tokens are for low latency
 * only.
 *
 * @param inputs as they are received
 * @param format of combined rows, {@code hidden} elements each
 * @param budget of received rows in high throughput
 * @param mode of high throughput with {@code hasRowPerExpert}
 * @param alignment of the experts' zones there
 * @param fourBits whether rows come home in four bits, by {@link #outputScale}; low latency only
 */
record LayerOracle(LayerKind kind, GlobalInputs inputs, NumberFormat format, int hidden, RowFunction experts,
        ReceiveBudget budget, ExpertMajorMode mode, int alignment, boolean fourBits) {
    /** The largest product of a value in four bits and a block's scale. */
    private static final float LARGEST = 2688;

    static LayerOracle of(EpHandle handle, BufferConfig rows, GlobalInputs inputs, RowFunction experts,
            ExpertMajorMode mode) {
        EpGroupConfig config = handle.group().config();
        LayerKind kind = LayerKind.of(config.algorithm(), handle.layout());
        int most = kind.isLowLatency() || config.isEager() ? 0 : (int) handle.group().sizing().receiveRows();
        ReceiveBudget budget = config.overflow() == OverflowPolicy.DROP
                ? ReceiveBudget.dropping(most)
                : ReceiveBudget.trapping(most);
        return new LayerOracle(kind, inputs, NumberFormat.valueOf(rows.type().name()), rows.hidden(), experts,
                config.isEager() ? ReceiveBudget.eager() : budget, mode, handle.alignment(),
                rows.combineRecipe() == CombineRecipe.NVFP4);
    }

    /** The combined rows of a rank's tokens. */
    byte[][] combined(int rank) {
        RankOutputs summed = (at, source) -> output(source, inTopKOrder(source, at));
        return switch (kind) {
            case LL_EXPERT_MAJOR -> {
                float[][] weights = inputs.weights()[rank];
                yield fourBits
                        ? LowLatencyExpertMajor.combineNvfp4(inputs.routing(), rank, weights, this::unweighted,
                                LayerOracle::outputScale, hidden)
                        : LowLatencyExpertMajor.combine(inputs.routing(), rank, weights, this::unweighted, format,
                                hidden);
            }
            case LL_RANK_MAJOR -> fourBits
                    ? LowLatencyRankMajor.combineNvfp4(inputs.routing(), rank, summed, LayerOracle::outputScale, hidden)
                    : LowLatencyRankMajor.combine(inputs.routing(), rank, summed, format, hidden);
            case HT_FLAT -> HighThroughputFlat.combine(flatSlots(), rank, this::output, format, hidden);
            case HT_EXPERT_MAJOR -> HighThroughputExpertMajor.combine(zoneSlots(), rank, this::output, format, hidden);
        };
    }

    /** The combined gradients of weights of a rank's tokens, backward. */
    float[][] combinedWeights(int rank, WeightGradients gradients) {
        return kind == LayerKind.HT_FLAT
                ? HighThroughputFlat.combineWeights(flatSlots(), rank, gradients)
                : HighThroughputExpertMajor.combineWeights(zoneSlots(), rank, gradients);
    }

    /** Where rows lie in HT_FLAT. */
    FlatSlots flatSlots() {
        return new FlatSlots(inputs.routing(), budget);
    }

    /** Where rows lie in HT_EXPERT_MAJOR. */
    ExpertMajorSlots zoneSlots() {
        return new ExpertMajorSlots(inputs.routing(), budget, mode, alignment);
    }

    private byte[] unweighted(int expert, Source source) {
        return experts.output(new int[]{expert}, new float[]{1}, inputs.token(source), inputs.scales(source));
    }

    /** The row of high throughput for a token: of an expert, or in HT_FLAT of a rank's. */
    byte[] output(int owner, Source source) {
        return output(source, kind == LayerKind.HT_FLAT ? ascending(source, owner) : new int[]{owner});
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

    /** The scale that experts give to a bfloat16 row that comes home in four bits. */
    static float outputScale(byte[] row) {
        float largest = 0;
        for (float value : NumberFormat.BFLOAT16.decodeRow(row)) {
            largest = Math.max(largest, Math.abs(value));
        }
        return largest == 0 ? 1 : LARGEST / largest;
    }
}
