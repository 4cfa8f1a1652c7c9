package io.nccl4j.oracle;

import java.util.Arrays;

/** Compares counters, which are always exact. */
final class Counters {
    private Counters() {
    }

    static void verify(String name, int[] expected, int[] actual) {
        if (!Arrays.equals(expected, actual)) {
            throw new Mismatch(name + " " + Arrays.toString(actual) + ", expected " + Arrays.toString(expected));
        }
    }

    static void verify(String name, long[] expected, long[] actual) {
        if (!Arrays.equals(expected, actual)) {
            throw new Mismatch(name + " " + Arrays.toString(actual) + ", expected " + Arrays.toString(expected));
        }
    }
}
