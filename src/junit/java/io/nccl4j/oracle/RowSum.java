package io.nccl4j.oracle;

/** A sum of rows in {@code float}, element by element, starting from +0, rounded once at the end. */
final class RowSum {
    private final NumberFormat format;
    private final float[] sum;

    RowSum(NumberFormat format, int width) {
        this.format = format;
        sum = new float[width];
    }

    void add(byte[] row) {
        check(row);
        for (int i = 0; i < sum.length; i++) {
            sum[i] += format.get(row, i);
        }
    }

    /** Adds {@code weight * row}, each product and sum fused into one rounding. */
    void addScaled(byte[] row, float weight) {
        check(row);
        for (int i = 0; i < sum.length; i++) {
            sum[i] = Math.fma(format.get(row, i), weight, sum[i]);
        }
    }

    byte[] rounded() {
        return format.encodeRow(sum);
    }

    private void check(byte[] row) {
        if (row.length != sum.length * format.bytes()) {
            throw new IllegalArgumentException("a row of " + row.length + " bytes, expected " + sum.length + " x "
                    + format);
        }
    }
}
