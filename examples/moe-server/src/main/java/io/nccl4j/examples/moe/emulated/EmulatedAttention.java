package io.nccl4j.examples.moe.emulated;

import static io.nccl4j.examples.moe.emulated.Elements.bf16;
import static io.nccl4j.examples.moe.emulated.Elements.dot;
import static io.nccl4j.examples.moe.emulated.Elements.exp;
import static io.nccl4j.examples.moe.emulated.Elements.f32;
import static io.nccl4j.examples.moe.emulated.Elements.i32;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import io.nccl4j.ep.BFloat16;
import io.nccl4j.emulator.KernelLaunch;
import java.lang.foreign.MemorySegment;

/** Rotary embedding, the key-value cache and attention over it. */
final class EmulatedAttention {
    private static final int HEAD = 128;
    private static final long HEAD_BYTES = 2L * HEAD;

    private EmulatedAttention() {
    }

    /**
     * Positions from the first of a head on, as many as are used, in a cache {@code [slots, kvHeads, context, HEAD]}.
     */
    private static MemorySegment cached(KernelLaunch launch, int cache, long slot, int kvHead, int kvHeads, int context,
            int positions) {
        long head = (slot * kvHeads + kvHead) * context * HEAD_BYTES;
        return launch.memoryAt(launch.getLong(cache) + head, positions * HEAD_BYTES);
    }

    /**
     * rows, qkv, query norm, key norm, rotations, epsilon, slots, positions, heads, kv heads, context, key cache, value
     * cache.
     */
    static void rotateAndCache(KernelLaunch launch) {
        int rows = launch.getInt(0);
        int heads = launch.getInt(8);
        int kvHeads = launch.getInt(9);
        int context = launch.getInt(10);
        int all = heads + 2 * kvHeads;
        MemorySegment qkv = launch.memory(1, JAVA_SHORT, (long) rows * all * HEAD);
        MemorySegment queryNorm = launch.memory(2, JAVA_SHORT, HEAD);
        MemorySegment keyNorm = launch.memory(3, JAVA_SHORT, HEAD);
        MemorySegment rotations = launch.memory(4, JAVA_FLOAT, (long) context * HEAD);
        MemorySegment slots = launch.memory(6, JAVA_INT, rows);
        MemorySegment positions = launch.memory(7, JAVA_INT, rows);
        for (int row = 0; row < rows; row++) {
            int slot = i32(slots, row);
            int position = i32(positions, row);
            for (int head = 0; head < all && slot >= 0; head++) {
                MemorySegment values = qkv.asSlice(((long) row * all + head) * HEAD_BYTES, HEAD_BYTES);
                MemorySegment angles = rotations.asSlice(position * 4L * HEAD, 4L * HEAD);
                if (head < heads) {
                    rotate(values, queryNorm, launch.getFloat(5), angles, values);
                } else if (head < heads + kvHeads) {
                    MemorySegment keys = cached(launch, 11, slot, head - heads, kvHeads, context, position + 1);
                    rotate(values, keyNorm, launch.getFloat(5), angles, keys.asSlice(position * HEAD_BYTES));
                } else {
                    MemorySegment kept = cached(launch, 12, slot, head - heads - kvHeads, kvHeads, context,
                            position + 1);
                    kept.asSlice(position * HEAD_BYTES).copyFrom(values);
                }
            }
        }
    }

    private static void rotate(MemorySegment values, MemorySegment norm, float epsilon, MemorySegment angles,
            MemorySegment target) {
        float[] x = Elements.row(values, 0, HEAD);
        float inverse = Elements.inverseNorm(x, epsilon);
        for (int i = 0; i < HEAD; i++) {
            x[i] = round(round(x[i] * inverse) * bf16(norm, i));
        }
        for (int i = 0; i < HEAD / 2; i++) {
            float cosine = f32(angles, i);
            float sine = f32(angles, HEAD / 2 + i);
            bf16(target, i, x[i] * cosine - x[i + HEAD / 2] * sine);
            bf16(target, i + HEAD / 2, x[i + HEAD / 2] * cosine + x[i] * sine);
        }
    }

    private static float round(float value) {
        return BFloat16.toFloat(BFloat16.fromFloat(value));
    }

    /** rows, qkv, key cache, value cache, slots, positions, heads, kv heads, context, out. */
    static void attention(KernelLaunch launch) {
        int rows = launch.getInt(0);
        int heads = launch.getInt(6);
        int kvHeads = launch.getInt(7);
        int all = heads + 2 * kvHeads;
        MemorySegment qkv = launch.memory(1, JAVA_SHORT, (long) rows * all * HEAD);
        MemorySegment slots = launch.memory(4, JAVA_INT, rows);
        MemorySegment positions = launch.memory(5, JAVA_INT, rows);
        MemorySegment out = launch.memory(9, JAVA_SHORT, (long) rows * heads * HEAD);
        for (int row = 0; row < rows; row++) {
            int slot = i32(slots, row);
            int length = i32(positions, row) + 1;
            for (int head = 0; head < heads; head++) {
                MemorySegment target = out.asSlice(((long) row * heads + head) * HEAD_BYTES, HEAD_BYTES);
                if (slot < 0) {
                    target.fill((byte) 0);
                    continue;
                }
                int kvHead = head / (heads / kvHeads);
                attend(Elements.row(qkv, ((long) row * all + head) * HEAD, HEAD),
                        cached(launch, 2, slot, kvHead, kvHeads, launch.getInt(8), length),
                        cached(launch, 3, slot, kvHead, kvHeads, launch.getInt(8), length), length, target);
            }
        }
    }

    private static void attend(float[] query, MemorySegment keys, MemorySegment values, int length,
            MemorySegment target) {
        float[] scores = new float[length];
        float greatest = Float.NEGATIVE_INFINITY;
        for (int position = 0; position < length; position++) {
            scores[position] = dot(query, keys, (long) position * HEAD) * (1.0f / (float) Math.sqrt(HEAD));
            greatest = Math.max(greatest, scores[position]);
        }
        float[] sums = new float[HEAD];
        float total = 0;
        for (int position = 0; position < length; position++) {
            float weight = exp(scores[position] - greatest);
            total += weight;
            for (int i = 0; i < HEAD; i++) {
                sums[i] += weight * bf16(values, (long) position * HEAD + i);
            }
        }
        for (int i = 0; i < HEAD; i++) {
            bf16(target, i, sums[i] / total);
        }
    }
}
