package io.nccl4j.benchmarks.test;

import io.nccl4j.oracle.NumberFormat;
import java.util.SplittableRandom;
import java.util.zip.CRC32C;

/**
 * What the experts of the matrix compute: a row that depends on every byte of the received row and on who computes. So
 * combine is right only if each row came back from where it should, wherever it lay.
 */
final class TestExperts {
    /** The largest e4m3 times the largest e2m1. */
    private static final float LARGEST_SCALED = 448f * 6;

    private TestExperts() {
    }

    /**
     * The output for a received row.
     *
     * @param owner the expert, or the rank where a row stands for all experts of a rank
     */
    static byte[] row(int owner, byte[] received, NumberFormat format, int hidden) {
        SplittableRandom random = new SplittableRandom(seed(owner, received));
        byte[] row = new byte[hidden * format.bytes()];
        for (int i = 0; i < hidden; i++) {
            format.set(row, i, (float) random.nextDouble(-4, 4));
        }
        return row;
    }

    /**
     * The scale for a bfloat16 output that combine quantises: its largest magnitude becomes the largest that it can be.
     */
    static float scale(byte[] output) {
        float largest = 0;
        for (float value : NumberFormat.BFLOAT16.decodeRow(output)) {
            largest = Math.max(largest, Math.abs(value));
        }
        return largest == 0 ? 0 : LARGEST_SCALED / largest;
    }

    /** The gradient of an expert's weight for a received row. */
    static float gradient(int expert, byte[] received) {
        return (float) new SplittableRandom(~seed(expert, received)).nextDouble(-1, 1);
    }

    private static long seed(int owner, byte[] received) {
        CRC32C checksum = new CRC32C();
        checksum.update(received);
        return checksum.getValue() | (long) owner << 32;
    }
}
