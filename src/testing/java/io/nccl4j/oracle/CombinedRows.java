package io.nccl4j.oracle;

/** Compares combined rows with the expected ones, bit by bit. */
public final class CombinedRows {
    private CombinedRows() {
    }

    /** Compares rows {@code 0 .. expected.length - 1} of {@code outputs.tokens}. */
    public static void verify(byte[][] expected, Rows actual) {
        if (actual.count() < expected.length) {
            throw new Mismatch("combined: " + actual.count() + " rows, expected " + expected.length);
        }
        for (int token = 0; token < expected.length; token++) {
            actual.verifyRow(token, expected[token], "combined");
        }
    }
}
