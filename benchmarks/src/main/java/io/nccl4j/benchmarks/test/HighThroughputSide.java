package io.nccl4j.benchmarks.test;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.benchmarks.test.TestTensors.Mirrored;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * High throughput: rows up to a budget, or as many as the counters say; weights come with them, or, backward, go home.
 */
abstract class HighThroughputSide extends ReceiveSide {
    final Mirrored total;
    final Mirrored weights;

    /** @param weightShape extents of the weights */
    HighThroughputSide(CellCase of, int rank, TestTensors tensors, long rows, long... weightShape) {
        super(of, rank, tensors, rows);
        total = tensors.output(counterType(), 1);
        weights = isForward()
                ? tensors.output(DataType.FLOAT32, weightShape)
                : tensors.input(DataType.FLOAT32, weightShape);
    }

    final DataType counterType() {
        return of.wideCounters() ? DataType.INT64 : DataType.INT32;
    }

    /** Counters of {@link #counterType()}. */
    final long[] read(Mirrored counters) {
        MemorySegment host = counters.mirror().host();
        long[] values = new long[(int) counters.tensor().rows()];
        Arrays.setAll(values, i -> of.wideCounters() ? host.getAtIndex(JAVA_LONG, i) : host.getAtIndex(JAVA_INT, i));
        return values;
    }

    final long total() {
        return read(total)[0];
    }

    /** What is received with the rows beside weights and scales. */
    @Nullable
    Mirrored indices() {
        return null;
    }

    @Override
    final void sizeFromCounters() {
        for (Mirrored sized : Arrays.asList(tokens, expertRows, weights, scales, indices())) {
            if (sized != null) {
                sized.tensor().rows(total());
            }
        }
    }

    @Override
    final void uploadGradients(CudaStream stream) {
        weights.mirror().toDevice(stream);
    }
}
