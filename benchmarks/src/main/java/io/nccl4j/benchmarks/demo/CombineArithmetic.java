package io.nccl4j.benchmarks.demo;

import io.nccl4j.ep.EpGeneration;
import io.nccl4j.oracle.ExpertMajorMode;
import io.nccl4j.oracle.ExpertMajorSlots;
import io.nccl4j.oracle.FlatSlots;
import io.nccl4j.oracle.HighThroughputExpertMajor;
import io.nccl4j.oracle.HighThroughputFlat;
import io.nccl4j.oracle.LowLatencyExpertMajor;
import io.nccl4j.oracle.LowLatencyRankMajor;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.ReceiveBudget;
import io.nccl4j.oracle.Source;
import java.util.Arrays;

/**
 * The rows that combine must give, by layout, with the roundings that NCCL EP documents.
 *
 * @param algorithm names the layout
 * @param generation of the library, which decides how often a row of HT EXPERT_MAJOR is rounded
 */
record CombineArithmetic(AlgorithmChoice algorithm, EpGeneration generation) {
    private static final NumberFormat FORMAT = NumberFormat.BFLOAT16;

    /** Of a rank's tokens. */
    byte[][] expected(Reference.Routed routed, ExpertFunction experts, int hidden) {
        return switch (algorithm) {
            case LL_EXPERT_MAJOR ->
                LowLatencyExpertMajor.combine(routed.routing(), routed.rank(), routed.weights(), (expert, source) -> {
                    byte[] row = new byte[hidden * FORMAT.bytes()];
                    for (int column = 0; column < hidden; column++) {
                        FORMAT.set(row, column, experts.apply(expert, column, element(routed, source, column)));
                    }
                    return row;
                }, FORMAT, hidden);
            case LL_RANK_MAJOR -> LowLatencyRankMajor.combine(routed.routing(), routed.rank(),
                    (rank, source) -> sum(routed, experts, hidden, source, byTopK(routed, rank, source)), FORMAT,
                    hidden);
            case HT_FLAT -> HighThroughputFlat.combine(new FlatSlots(routed.routing(), ReceiveBudget.eager()),
                    routed.rank(),
                    (rank, source) -> sum(routed, experts, hidden, source, ascending(routed, rank, source)), FORMAT,
                    hidden);
            case HT_EXPERT_MAJOR -> HighThroughputExpertMajor.combine(
                    new ExpertMajorSlots(routed.routing(), ReceiveBudget.eager(), mode(), 1), routed.rank(),
                    (expert, source) -> sum(routed, experts, hidden, source, new int[]{expert}), FORMAT, hidden);
        };
    }

    private ExpertMajorMode mode() {
        return generation == EpGeneration.V0_1_0 ? ExpertMajorMode.NVLINK_DUP : ExpertMajorMode.LOCAL_PERMUTE;
    }

    /** The rank's experts of a token, in the order of its top-k list. */
    private static int[] byTopK(Reference.Routed routed, int rank, Source source) {
        int perRank = routed.routing().shape().localExperts();
        return Arrays.stream(routed.routing().of(routed.rank())[source.token()])
                .filter(expert -> expert >= 0 && expert / perRank == rank).toArray();
    }

    /** The rank's experts of a token, in ascending order. */
    private static int[] ascending(Reference.Routed routed, int rank, Source source) {
        int[] experts = routed.routing().localExperts(source, rank).clone();
        for (int i = 0; i < experts.length; i++) {
            experts[i] += rank * routed.routing().shape().localExperts();
        }
        return experts;
    }

    /** The weighted sum of what some experts make of a token, rounded once. */
    private static byte[] sum(Reference.Routed routed, ExpertFunction experts, int hidden, Source source,
            int[] chosen) {
        byte[] row = new byte[hidden * FORMAT.bytes()];
        for (int column = 0; column < hidden; column++) {
            float x = element(routed, source, column);
            float sum = 0;
            for (int expert : chosen) {
                sum = Math.fma(weight(routed, source.token(), expert), experts.apply(expert, column, x), sum);
            }
            FORMAT.set(row, column, sum);
        }
        return row;
    }

    private static float element(Reference.Routed routed, Source source, int column) {
        return FORMAT.get(routed.rows()[source.token()], column);
    }

    private static float weight(Reference.Routed routed, int token, int expert) {
        int[] chosen = routed.routing().of(routed.rank())[token];
        for (int k = 0; k < chosen.length; k++) {
            if (chosen[k] == expert) {
                return routed.weights()[token][k];
            }
        }
        throw new IllegalArgumentException("token " + token + " does not go to expert " + expert);
    }
}
