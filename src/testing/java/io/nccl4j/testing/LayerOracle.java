package io.nccl4j.testing;

import io.nccl4j.oracle.EpShape;
import io.nccl4j.oracle.ExpertMajorMode;
import io.nccl4j.oracle.ExpertMajorSlots;
import io.nccl4j.oracle.ExpertOutputs;
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
import java.util.Arrays;

/**
 * The rows that a layer must give for what all ranks send, with the roundings that NCCL EP documents. Which of its
 * weights survives if a token names an expert twice is open in high throughput, so such tokens are for low latency
 * only.
 *
 * @param inputs as experts see them
 * @param format of the rows
 * @param budget of received rows in high throughput
 * @param mode of high throughput with {@code hasRowPerExpert}
 * @param alignment of the experts' zones there
 * @param fourBits whether rows come home in four bits, by the scales of {@link MoeLayer}; low latency only
 */
public record LayerOracle(LayerKind kind, GlobalInputs inputs, NumberFormat format, int hidden, ExpertFunction experts,
        ReceiveBudget budget, ExpertMajorMode mode, int alignment, boolean fourBits) {

    /** The combined rows of a rank's tokens. */
    public byte[][] combined(int rank) {
        return switch (kind) {
            case LL_EXPERT_MAJOR -> {
                float[][] weights = inputs.weights()[rank];
                ExpertOutputs outputs = (expert, source) -> experts.sum(new int[]{expert}, new float[]{1},
                        inputs.token(source), format);
                yield fourBits
                        ? LowLatencyExpertMajor.combineNvfp4(inputs.routing(), rank, weights, outputs,
                                RowRecipe::outputScale, hidden)
                        : LowLatencyExpertMajor.combine(inputs.routing(), rank, weights, outputs, format, hidden);
            }
            case LL_RANK_MAJOR -> {
                RankOutputs outputs = (at, source) -> sum(source, inTopKOrder(source, at));
                yield fourBits
                        ? LowLatencyRankMajor.combineNvfp4(inputs.routing(), rank, outputs, RowRecipe::outputScale,
                                hidden)
                        : LowLatencyRankMajor.combine(inputs.routing(), rank, outputs, format, hidden);
            }
            case HT_FLAT -> HighThroughputFlat.combine(flatSlots(), rank,
                    (at, source) -> sum(source, ascending(source, at)), format, hidden);
            case HT_EXPERT_MAJOR -> HighThroughputExpertMajor.combine(zoneSlots(), rank,
                    (expert, source) -> sum(source, new int[]{expert}), format, hidden);
        };
    }

    FlatSlots flatSlots() {
        return new FlatSlots(inputs.routing(), budget);
    }

    ExpertMajorSlots zoneSlots() {
        return new ExpertMajorSlots(inputs.routing(), budget, mode, alignment);
    }

    /** The output of the experts for a token, by its weights. */
    private byte[] sum(Source source, int[] chosen) {
        float[] weights = new float[chosen.length];
        boolean[] taken = new boolean[inputs.routing().shape().topK()];
        for (int i = 0; i < chosen.length; i++) {
            int k = 0;
            while (inputs.routing().expert(source, k) != chosen[i] || taken[k]) {
                k++;
            }
            taken[k] = true;
            weights[i] = inputs.weights(source)[k];
        }
        return experts.sum(chosen, weights, inputs.token(source), format);
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
}
