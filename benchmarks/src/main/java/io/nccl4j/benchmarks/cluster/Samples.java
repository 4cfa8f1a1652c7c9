package io.nccl4j.benchmarks.cluster;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.Map;

/**
 * Times of a rank's operations, in nanoseconds, one per iteration. An operation without times could not be measured.
 */
final class Samples {
    private final Map<Operation, long[]> times = new EnumMap<>(Operation.class);
    private final int iterations;

    Samples(int iterations) {
        this.iterations = iterations;
    }

    void put(Operation operation, int iteration, float millis) {
        times.computeIfAbsent(operation, name -> new long[iterations])[iteration] = Math.max(1,
                Math.round(millis * 1e6));
    }

    /** The times of an operation, or an empty array. */
    long[] of(Operation operation) {
        return times.getOrDefault(operation, new long[0]);
    }

    /** For other ranks. */
    byte[] encode() {
        ByteBuffer buffer = ByteBuffer.allocate((Operation.values().length * (1 + iterations)) * Long.BYTES);
        for (Operation operation : Operation.values()) {
            long[] of = of(operation);
            buffer.putLong(of.length);
            for (long time : of) {
                buffer.putLong(time);
            }
        }
        return Arrays.copyOf(buffer.array(), buffer.position());
    }

    /** Of another rank. */
    static Samples decode(byte[] bytes, int iterations) {
        Samples samples = new Samples(iterations);
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        for (Operation operation : Operation.values()) {
            long[] of = new long[Math.toIntExact(buffer.getLong())];
            for (int i = 0; i < of.length; i++) {
                of[i] = buffer.getLong();
            }
            if (of.length > 0) {
                samples.times.put(operation, of);
            }
        }
        return samples;
    }
}
