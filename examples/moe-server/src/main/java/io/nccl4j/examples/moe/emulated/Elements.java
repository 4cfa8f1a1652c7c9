package io.nccl4j.examples.moe.emulated;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import io.nccl4j.ep.BFloat16;
import java.lang.foreign.MemorySegment;

/**
 * Elements of device memory as the emulated kernels read and write them, and the one sum over products that all of them
 * use.
 */
final class Elements {
    private Elements() {
    }

    static float bf16(MemorySegment memory, long index) {
        return BFloat16.toFloat(memory.getAtIndex(JAVA_SHORT, index));
    }

    static void bf16(MemorySegment memory, long index, float value) {
        memory.setAtIndex(JAVA_SHORT, index, BFloat16.fromFloat(value));
    }

    static float f32(MemorySegment memory, long index) {
        return memory.getAtIndex(JAVA_FLOAT, index);
    }

    static void f32(MemorySegment memory, long index, float value) {
        memory.setAtIndex(JAVA_FLOAT, index, value);
    }

    static int i32(MemorySegment memory, long index) {
        return memory.getAtIndex(JAVA_INT, index);
    }

    static void i32(MemorySegment memory, long index, int value) {
        memory.setAtIndex(JAVA_INT, index, value);
    }

    static long i64(MemorySegment memory, long index) {
        return memory.getAtIndex(JAVA_LONG, index);
    }

    static void i64(MemorySegment memory, long index, long value) {
        memory.setAtIndex(JAVA_LONG, index, value);
    }

    /** A row of bfloat16 as floats. */
    static float[] row(MemorySegment memory, long first, int count) {
        float[] row = new float[count];
        for (int i = 0; i < count; i++) {
            row[i] = bf16(memory, first + i);
        }
        return row;
    }

    /** The product of a row with one of weights: four sums, of every fourth product each, added in pairs. */
    static float dot(float[] row, MemorySegment weights, long first) {
        float sum0 = 0;
        float sum1 = 0;
        float sum2 = 0;
        float sum3 = 0;
        for (int i = 0; i < row.length; i += 4) {
            sum0 += row[i] * bf16(weights, first + i);
            sum1 += row[i + 1] * bf16(weights, first + i + 1);
            sum2 += row[i + 2] * bf16(weights, first + i + 2);
            sum3 += row[i + 3] * bf16(weights, first + i + 3);
        }
        return (sum0 + sum1) + (sum2 + sum3);
    }

    /** {@code 1 / sqrt(mean of squares + epsilon)}, the squares added one by one. */
    static float inverseNorm(float[] row, float epsilon) {
        float squares = 0;
        for (float value : row) {
            squares += value * value;
        }
        return 1.0f / (float) Math.sqrt(squares / row.length + epsilon);
    }

    static float exp(float value) {
        return (float) StrictMath.exp(value);
    }
}
