package io.nccl4j.examples.moe.weights;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;

/** Where weights come from, all of them bfloat16. */
public interface WeightSource extends AutoCloseable {
    /**
     * Puts a tensor into device memory; done when the work on {@code stream} is.
     *
     * @param shape that it must have
     */
    void load(String name, DeviceMemory target, CudaStream stream, long... shape);

    /** The same values on the host. */
    short[] read(String name, long... shape);

    @Override
    void close();

    static long elements(long... shape) {
        long count = 1;
        for (long size : shape) {
            count *= size;
        }
        return count;
    }
}
