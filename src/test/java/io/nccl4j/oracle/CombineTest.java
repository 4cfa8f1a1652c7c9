package io.nccl4j.oracle;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

/** Sums whose roundings are worked out by hand. */
class CombineTest {
    private static final EpShape SHAPE = new EpShape(2, 4, 3, 1);
    private static final Source TOKEN = new Source(0, 0);

    private static Routing routing(int... experts) {
        return new Routing(SHAPE, new int[][][]{{experts}, {}});
    }

    private static byte[] bf16(float value) {
        return NumberFormat.BFLOAT16.encodeRow(new float[]{value});
    }

    private static float value(byte[][] combined) {
        return NumberFormat.BFLOAT16.get(combined[0], 0);
    }

    @Test
    void expertMajorRoundsPerRankFirstUnlessTheSenderDuplicates() {
        // On rank 0: 256 + 1 = 257, in bfloat16 256 (ties to even); on rank 1: 1. 256 + 1 rounds to 256, 258 stays.
        Routing routing = routing(0, 1, 2);
        ExpertOutputs outputs = (expert, source) -> bf16(expert == 0 ? 256 : 1);
        assertThat(value(expertMajor(routing, ExpertMajorMode.LOCAL_PERMUTE, outputs))).isEqualTo(256);
        assertThat(value(expertMajor(routing, ExpertMajorMode.LOCAL_DUP, outputs))).isEqualTo(256);
        assertThat(value(expertMajor(routing, ExpertMajorMode.NVLINK_DUP, outputs))).isEqualTo(258);
    }

    private static byte[][] expertMajor(Routing routing, ExpertMajorMode mode, ExpertOutputs outputs) {
        ExpertMajorSlots slots = new ExpertMajorSlots(routing, ReceiveBudget.trapping(8), mode, 1);
        return HighThroughputExpertMajor.combine(slots, 0, outputs, NumberFormat.BFLOAT16, 1);
    }

    @Test
    void lowLatencyWeighsEveryOccurrenceWithFusedArithmetic() {
        float x = 1 + 1f / 128;
        float[][] weights = {{x, -1, 0.5f}};
        byte[][] combined = LowLatencyExpertMajor.combine(routing(3, 0, 3), 0, weights,
                (expert, source) -> NumberFormat.FLOAT32.encodeRow(new float[]{expert == 3 ? x + 1f / 8388608 : 1}),
                NumberFormat.FLOAT32, 1);
        float row = x + 1f / 8388608;
        float expected = (float) ((double) row * 0.5 + (float) ((double) (float) ((double) row * x) - 1));
        assertThat(NumberFormat.FLOAT32.get(combined[0], 0)).isEqualTo(Math.fma(row, 0.5f, Math.fma(row, x, 0f) - 1))
                .isEqualTo(expected);
    }

    @Test
    void rankMajorAddsEachRankOnceAndEmptyTokensAreZero() {
        byte[][] combined = LowLatencyRankMajor.combine(routing(3, 0, 2), 0, (rank, source) -> bf16(rank + 1),
                NumberFormat.BFLOAT16, 1);
        assertThat(value(combined)).isEqualTo(3);
        byte[][] none = LowLatencyRankMajor.combine(routing(-1, -1, -1), 0, (rank, source) -> bf16(9),
                NumberFormat.BFLOAT16, 1);
        assertThat(none[0]).containsOnly(0);
    }

    @Test
    void aLoneNegativeZeroBecomesPositive() {
        FlatSlots slots = new FlatSlots(routing(0, -1, -1), ReceiveBudget.eager());
        byte[][] combined = HighThroughputFlat.combine(slots, 0, (rank, source) -> bf16(-0f), NumberFormat.BFLOAT16, 1);
        assertThat(combined[0]).containsOnly(0);
    }

    @Test
    void backwardWeightsComeBackAtEveryPositionOfTheirExpert() {
        FlatSlots slots = new FlatSlots(routing(2, -1, 2), ReceiveBudget.eager());
        float[][] weights = HighThroughputFlat.combineWeights(slots, 0,
                (expert, source) -> expert + source.token() + 0.5f);
        assertThat(weights).isDeepEqualTo(new float[][]{{2.5f, 0, 2.5f}});
        assertThat(slots.slot(TOKEN, 1)).isZero();
    }

    @Test
    void nvfp4KeepsWhatFourBitsCanHold() {
        // With the largest magnitude 6 and scale 448 the block's scale is 448, so that the values come home as they
        // are.
        float[] row = {6, -6, 4, 3, 2, 1.5f, 1, 0.5f, 0, -0.5f, 5, 0.25f, 0.75f, -2.5f, 1.25f, 3.5f};
        float[] home = {6, -6, 4, 3, 2, 1.5f, 1, 0.5f, 0, -0.5f, 4, 0, 1, -2, 1, 4};
        byte[][] combined = LowLatencyExpertMajor.combineNvfp4(routing(3, -1, -1), 0, new float[][]{{0.5f, 0, 0}},
                (expert, source) -> NumberFormat.BFLOAT16.encodeRow(row), any -> 448, 16);
        for (int i = 0; i < row.length; i++) {
            assertThat(NumberFormat.BFLOAT16.get(combined[0], i)).as("element %d", i).isEqualTo(home[i] / 2);
        }
    }

    @Test
    void nvfp4OfZerosOrWithoutScaleIsZero() {
        for (float scale : new float[]{0, 1}) {
            byte[][] combined = LowLatencyRankMajor.combineNvfp4(routing(3, 0, 2), 0,
                    (rank, source) -> NumberFormat.BFLOAT16.encodeRow(new float[16]), row -> scale, 16);
            assertThat(combined[0]).containsOnly(0);
        }
    }
}
