package io.nccl4j.examples.moe.kernels;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;

/** The dense products of a step, {@code out[rows, columns] = in[rows, k] * weight[columns, k]^T}. Capturable. */
public interface Projections extends AutoCloseable {
    /** With results in bfloat16. */
    void bf16(CudaStream stream, int rows, DeviceMemory in, DeviceMemory weight, int columns, int k, DeviceMemory out);

    /** With results in float32. */
    void f32(CudaStream stream, int rows, DeviceMemory in, DeviceMemory weight, int columns, int k, DeviceMemory out);

    @Override
    void close();

    /** Those of this project's own kernels: a row's result depends on nothing but the row. */
    static Projections ownKernels(ModelKernels kernels) {
        return new Projections() {
            @Override
            public void bf16(CudaStream stream, int rows, DeviceMemory in, DeviceMemory weight, int columns, int k,
                    DeviceMemory out) {
                kernels.denseBf16(stream, rows, in, weight, columns, k, out);
            }

            @Override
            public void f32(CudaStream stream, int rows, DeviceMemory in, DeviceMemory weight, int columns, int k,
                    DeviceMemory out) {
                kernels.denseF32(stream, rows, in, weight, columns, k, out);
            }

            @Override
            public void close() {
            }
        };
    }
}
