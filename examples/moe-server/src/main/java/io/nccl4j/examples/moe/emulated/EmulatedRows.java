package io.nccl4j.examples.moe.emulated;

import static io.nccl4j.examples.moe.emulated.Elements.bf16;
import static io.nccl4j.examples.moe.emulated.Elements.i32;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import io.nccl4j.ep.BFloat16;
import io.nccl4j.emulator.KernelLaunch;
import io.nccl4j.examples.moe.weights.WeightHash;
import java.lang.foreign.MemorySegment;

/** Seeded weights, embedding, and norms with the residual stream. */
final class EmulatedRows {
    private EmulatedRows() {
    }

    /** out, count, seed, scale, offset. */
    static void seedWeights(KernelLaunch launch) {
        long count = launch.getLong(1);
        long seed = launch.getLong(2);
        float scale = launch.getFloat(3);
        float offset = launch.getFloat(4);
        MemorySegment out = launch.memory(0, JAVA_SHORT, count);
        for (long i = 0; i < count; i++) {
            out.setAtIndex(JAVA_SHORT, i, WeightHash.weight(seed, i, scale, offset));
        }
    }

    /** rows, tokens, slots, table, hidden, x. */
    static void embed(KernelLaunch launch) {
        int rows = launch.getInt(0);
        long bytes = 2L * launch.getInt(4);
        MemorySegment tokens = launch.memory(1, JAVA_INT, rows);
        MemorySegment slots = launch.memory(2, JAVA_INT, rows);
        MemorySegment x = launch.memory(5, rows * bytes);
        for (int row = 0; row < rows; row++) {
            MemorySegment target = x.asSlice(row * bytes, bytes);
            if (i32(slots, row) < 0) {
                target.fill((byte) 0);
            } else {
                target.copyFrom(launch.memoryAt(launch.getLong(3) + i32(tokens, row) * bytes, bytes));
            }
        }
    }

    /** rows, x, delta or null, weight, epsilon, hidden, out. */
    static void addNorm(KernelLaunch launch) {
        int rows = launch.getInt(0);
        int hidden = launch.getInt(5);
        float epsilon = launch.getFloat(4);
        long count = (long) rows * hidden;
        MemorySegment residual = launch.memory(1, JAVA_SHORT, count);
        MemorySegment weight = launch.memory(3, JAVA_SHORT, hidden);
        MemorySegment out = launch.memory(6, JAVA_SHORT, count);
        if (launch.getLong(2) != 0) {
            MemorySegment delta = launch.memory(2, JAVA_SHORT, count);
            for (long i = 0; i < count; i++) {
                bf16(residual, i, bf16(residual, i) + bf16(delta, i));
            }
        }
        for (int row = 0; row < rows; row++) {
            long first = (long) row * hidden;
            float[] values = Elements.row(residual, first, hidden);
            float inverse = Elements.inverseNorm(values, epsilon);
            for (int i = 0; i < hidden; i++) {
                float scaled = BFloat16.toFloat(BFloat16.fromFloat(values[i] * inverse));
                bf16(out, first + i, scaled * bf16(weight, i));
            }
        }
    }
}
