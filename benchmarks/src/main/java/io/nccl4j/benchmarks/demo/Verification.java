package io.nccl4j.benchmarks.demo;

import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;

/**
 * The result of the comparison of output rows.
 *
 * @param rows rows compared
 * @param wrong rows that differ from the reference
 * @param maxError largest distance of an element from exact arithmetic
 * @param examples the first few differences in words
 */
record Verification(long rows, long wrong, double maxError, List<String> examples) {
    private static final int EXAMPLES = 5;

    static Verification none() {
        return new Verification(0, 0, 0, List.of());
    }

    /** Of one row. */
    static Verification of(byte[] expected, byte[] actual, double error, String what) {
        int at = Arrays.mismatch(expected, actual);
        return at < 0
                ? new Verification(1, 0, error, List.of())
                : new Verification(1, 1, error, List.of(
                        what + ": byte " + at + " is " + element(actual, at) + ", expected " + element(expected, at)));
    }

    private static String element(byte[] row, int at) {
        return at < row.length ? Integer.toString(row[at] & 0xff) : "not there";
    }

    Verification plus(Verification other) {
        List<String> first = Stream.concat(examples.stream(), other.examples.stream()).limit(EXAMPLES).toList();
        return new Verification(rows + other.rows, wrong + other.wrong, Math.max(maxError, other.maxError), first);
    }

    boolean passed() {
        return wrong == 0;
    }
}
