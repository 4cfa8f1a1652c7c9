package io.nccl4j.examples.moe.model;

/** Cosines and sines of the rotary embedding, made once, so that all ranks and backends rotate by the same numbers. */
public final class RotaryTable {
    private RotaryTable() {
    }

    /** {@code [positions, headSize]}: of each position first the cosines of all pairs, then their sines. */
    public static float[] of(ModelConfig model, int positions) {
        int pairs = model.headSize() / 2;
        float[] table = new float[positions * model.headSize()];
        for (int pair = 0; pair < pairs; pair++) {
            float frequency = (float) Math.pow(model.ropeTheta(), -2.0 * pair / model.headSize());
            for (int position = 0; position < positions; position++) {
                // The angle is rounded to float, as in the published model.
                double angle = position * frequency;
                table[position * model.headSize() + pair] = (float) StrictMath.cos(angle);
                table[position * model.headSize() + pairs + pair] = (float) StrictMath.sin(angle);
            }
        }
        return table;
    }
}
