package io.nccl4j.oracle;

import java.util.Arrays;

/**
 * Rows of equal length, one after the other, as read back from a device.
 *
 * @param data the bytes of all rows; not copied
 * @param rowBytes length of a row
 */
public record Rows(byte[] data, int rowBytes) {

    public Rows {
        if (rowBytes < 1 || data.length % rowBytes != 0) {
            throw new IllegalArgumentException(data.length + " bytes are no whole number of rows of " + rowBytes);
        }
    }

    /** Rows laid one after the other. */
    public static Rows of(byte[][] rows, int rowBytes) {
        byte[] data = new byte[rows.length * rowBytes];
        for (int i = 0; i < rows.length; i++) {
            if (rows[i].length != rowBytes) {
                throw new IllegalArgumentException(
                        "row " + i + " has " + rows[i].length + " bytes, expected " + rowBytes);
            }
            System.arraycopy(rows[i], 0, data, i * rowBytes, rowBytes);
        }
        return new Rows(data, rowBytes);
    }

    /** Number of rows. */
    public int count() {
        return data.length / rowBytes;
    }

    /** A copy of a row. */
    public byte[] row(int index) {
        return Arrays.copyOfRange(data, index * rowBytes, (index + 1) * rowBytes);
    }

    /** Compares a row with {@code expected}. */
    void verifyRow(int index, byte[] expected, String what) {
        int from = index * rowBytes;
        int at = expected.length == rowBytes ? Arrays.mismatch(data, from, from + rowBytes, expected, 0, rowBytes) : 0;
        if (at >= 0) {
            throw new Mismatch(what + ": row " + index + " differs at byte " + at + " of " + rowBytes + ": "
                    + hex(data, from + at, from + rowBytes) + ", expected " + hex(expected, at, expected.length));
        }
    }

    /** Checks that rows {@code from} (inclusive) to {@code to} (exclusive) hold nothing but {@code fill}. */
    public void verifyFilled(int from, int to, byte fill, String what) {
        for (int i = from * rowBytes; i < to * rowBytes; i++) {
            if (data[i] != fill) {
                throw new Mismatch(
                        String.format("%s: byte %d of row %d is %02x, expected %02x as in every byte of rows %d to %d",
                                what, i % rowBytes, i / rowBytes, data[i], fill, from, to - 1));
            }
        }
    }

    static String hex(byte[] bytes, int from, int to) {
        StringBuilder text = new StringBuilder();
        for (int i = from; i < Math.min(to, from + 8); i++) {
            text.append(String.format("%02x", bytes[i]));
        }
        return text.append(to > from + 8 ? "..." : "").toString();
    }
}
