package io.nccl4j.oracle;

/** A sum of rows in {@code float}, element by element, starting from +0, rounded once at the end. */
final class RowSum {
    /** A way to add a weighted row. */
    @FunctionalInterface
    interface Addition {
        void add(RowSum sum, byte[] row, float weight);
    }

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

    /** Adds {@code weight} times the row as recipe NVFP4 sends it home. */
    void addNvfp4(byte[] row, float scale, float weight) {
        check(row);
        Nvfp4 sent = Nvfp4.quantise(format.decodeRow(row), scale);
        for (int i = 0; i < sum.length; i++) {
            sum[i] = Math.fma(sent.value(i), sent.blockScale(i) * sent.inverseScale() * weight, sum[i]);
        }
    }

    byte[] rounded() {
        return format.encodeRow(sum);
    }

    private void check(byte[] row) {
        if (row.length != sum.length * format.bytes()) {
            throw new IllegalArgumentException(
                    "a row of " + row.length + " bytes, expected " + sum.length + " x " + format);
        }
    }
}
