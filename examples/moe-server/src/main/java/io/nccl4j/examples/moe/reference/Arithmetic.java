package io.nccl4j.examples.moe.reference;

import io.nccl4j.ep.BFloat16;

/** In which order the reference adds, and where it rounds. */
final class Arithmetic {
    private static final int SUMS = 4;

    private Arithmetic() {
    }

    /** Rounded to bfloat16. */
    static float bf16(float value) {
        return BFloat16.toFloat(BFloat16.fromFloat(value));
    }

    static float[] bf16(float[] values) {
        for (int i = 0; i < values.length; i++) {
            values[i] = bf16(values[i]);
        }
        return values;
    }

    /** {@code x} with each row of a weight; see {@link #dot}. */
    static float[] product(float[] x, float[] weight, int columns) {
        float[] out = new float[columns];
        for (int column = 0; column < columns; column++) {
            out[column] = dot(x, weight, column * x.length);
        }
        return out;
    }

    /** Products are added up by their index modulo four, then (0 + 1) + (2 + 3). */
    static float dot(float[] x, float[] weight, int first) {
        float[] sums = new float[SUMS];
        for (int i = 0; i < x.length; i++) {
            sums[i % SUMS] += x[i] * weight[first + i];
        }
        return (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }

    /** Root-mean-square norm: the scaled value is rounded before and after it is weighted. */
    static float[] norm(float[] x, float[] weight, float epsilon) {
        float squares = 0;
        for (int i = 0; i < x.length; i++) {
            squares += x[i] * x[i];
        }
        float inverse = 1.0f / (float) Math.sqrt(squares / x.length + epsilon);
        float[] out = new float[x.length];
        for (int i = 0; i < x.length; i++) {
            out[i] = bf16(bf16(x[i] * inverse) * weight[i]);
        }
        return out;
    }

    static float exp(float value) {
        return (float) StrictMath.exp(value);
    }
}
