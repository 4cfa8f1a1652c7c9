package io.nccl4j.examples.moe.emulated;

import static io.nccl4j.examples.moe.emulated.Elements.bf16;
import static io.nccl4j.examples.moe.emulated.Elements.dot;
import static io.nccl4j.examples.moe.emulated.Elements.exp;
import static io.nccl4j.examples.moe.emulated.Elements.f32;
import static io.nccl4j.examples.moe.emulated.Elements.i32;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import io.nccl4j.emulator.KernelLaunch;
import java.lang.foreign.MemorySegment;

/** Products of rows with weights: dense ones, and those of the experts, masked by the counts on the device. */
final class EmulatedProducts {
    private EmulatedProducts() {
    }

    /** rows, in, weight, columns, k, out in bfloat16. */
    static void denseBf16(KernelLaunch launch) {
        dense(launch, true);
    }

    /** The same with float32 results. */
    static void denseF32(KernelLaunch launch) {
        dense(launch, false);
    }

    private static void dense(KernelLaunch launch, boolean half) {
        int rows = launch.getInt(0);
        int columns = launch.getInt(3);
        int k = launch.getInt(4);
        MemorySegment in = launch.memory(1, JAVA_SHORT, (long) rows * k);
        MemorySegment weight = launch.memory(2, JAVA_SHORT, (long) columns * k);
        MemorySegment out = launch.memory(5, (long) rows * columns * (half ? Short.BYTES : Float.BYTES));
        for (int row = 0; row < rows; row++) {
            float[] values = Elements.row(in, (long) row * k, k);
            for (int column = 0; column < columns; column++) {
                float sum = dot(values, weight, (long) column * k);
                if (half) {
                    bf16(out, (long) row * columns + column, sum);
                } else {
                    f32(out, (long) row * columns + column, sum);
                }
            }
        }
    }

    /** counts, received, capacity, gate, up, inner, hidden, activated. */
    static void expertGateUp(KernelLaunch launch) {
        int experts = launch.grid().y();
        int capacity = launch.getInt(2);
        int inner = launch.getInt(5);
        int hidden = launch.getInt(6);
        MemorySegment counts = launch.memory(0, JAVA_INT, experts);
        MemorySegment received = launch.memory(1, JAVA_SHORT, (long) experts * capacity * hidden);
        MemorySegment gate = launch.memory(3, JAVA_SHORT, (long) experts * inner * hidden);
        MemorySegment up = launch.memory(4, JAVA_SHORT, (long) experts * inner * hidden);
        MemorySegment activated = launch.memory(7, JAVA_SHORT, (long) experts * capacity * inner);
        for (int expert = 0; expert < experts; expert++) {
            for (int row = 0; row < i32(counts, expert); row++) {
                long at = (long) expert * capacity + row;
                float[] values = Elements.row(received, at * hidden, hidden);
                for (int column = 0; column < inner; column++) {
                    long weight = ((long) expert * inner + column) * hidden;
                    float left = dot(values, gate, weight);
                    bf16(activated, at * inner + column, left / (1.0f + exp(-left)) * dot(values, up, weight));
                }
            }
        }
    }

    /** counts, activated, capacity, down, hidden, inner, outputs. */
    static void expertDown(KernelLaunch launch) {
        int experts = launch.grid().y();
        int capacity = launch.getInt(2);
        int hidden = launch.getInt(4);
        int inner = launch.getInt(5);
        MemorySegment counts = launch.memory(0, JAVA_INT, experts);
        MemorySegment activated = launch.memory(1, JAVA_SHORT, (long) experts * capacity * inner);
        MemorySegment down = launch.memory(3, JAVA_SHORT, (long) experts * hidden * inner);
        MemorySegment outputs = launch.memory(6, JAVA_SHORT, (long) experts * capacity * hidden);
        for (int expert = 0; expert < experts; expert++) {
            for (int row = 0; row < i32(counts, expert); row++) {
                long at = (long) expert * capacity + row;
                float[] values = Elements.row(activated, at * inner, inner);
                for (int column = 0; column < hidden; column++) {
                    bf16(outputs, at * hidden + column, dot(values, down, ((long) expert * hidden + column) * inner));
                }
            }
        }
    }
}
