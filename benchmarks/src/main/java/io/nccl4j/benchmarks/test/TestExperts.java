package io.nccl4j.benchmarks.test;

import io.nccl4j.ep.BufferConfig;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.RowFunction;
import io.nccl4j.testing.LayerKind;
import java.util.SplittableRandom;
import java.util.zip.CRC32C;

/**
 * The function of the matrix's experts: a row that depends on every byte of the received row and on who computes. So
 * combine is right only if each row came back from where it should, wherever it lay.
 */
final class TestExperts {
    private TestExperts() {
    }

    /** By the expert, or by the rank where a row stands for all experts of a rank. */
    static RowFunction of(LayerKind kind, EpShape shape, BufferConfig rows) {
        NumberFormat format = NumberFormat.valueOf(rows.type().name());
        return (experts, weights, received, scales) -> {
            int owner = kind.hasRowPerExpert() ? experts[0] : shape.rankOf(experts[0]);
            SplittableRandom random = new SplittableRandom(seed(owner, received));
            byte[] row = new byte[rows.hidden() * format.bytes()];
            for (int i = 0; i < rows.hidden(); i++) {
                format.set(row, i, (float) random.nextDouble(-4, 4));
            }
            return row;
        };
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
