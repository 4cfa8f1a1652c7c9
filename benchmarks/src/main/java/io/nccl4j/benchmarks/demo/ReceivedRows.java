package io.nccl4j.benchmarks.demo;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntToLongFunction;
import java.util.function.IntUnaryOperator;
import java.util.function.LongFunction;

/** Received rows in use, in a form that two runs of the same step can be compared by. */
final class ReceivedRows {
    private ReceivedRows() {
    }

    /**
     * All rows in use, zone by zone. Low latency leaves the order within a zone open, so they are sorted.
     *
     * @param first row of a zone
     * @param count rows in use of a zone
     * @param read everything received with a row
     */
    static List<List<ByteBuffer>> read(int zones, IntToLongFunction first, IntUnaryOperator count,
            LongFunction<ByteBuffer> read) {
        List<List<ByteBuffer>> all = new ArrayList<>();
        for (int zone = 0; zone < zones; zone++) {
            List<ByteBuffer> rows = new ArrayList<>();
            long begin = first.applyAsLong(zone);
            for (long row = begin; row < begin + count.applyAsInt(zone); row++) {
                rows.add(read.apply(row).rewind());
            }
            rows.sort(null);
            all.add(rows);
        }
        return all;
    }
}
