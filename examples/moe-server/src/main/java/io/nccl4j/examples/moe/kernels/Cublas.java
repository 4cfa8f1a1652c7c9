package io.nccl4j.examples.moe.kernels;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Dense products by cuBLAS, on one stream. Which of its kernels it takes, and with that the last bits of a row's
 * result, depends on the number of rows: it is given all rows of the buffers every time, the unused ones too, so that a
 * row does not depend on its batch. That costs little, since the weights that are read are the same.
 */
public final class Cublas implements Projections {
    private static final int TRANSPOSED = 1;
    private static final int PLAIN = 0;
    private static final int BF16 = 14;
    private static final int F32 = 0;
    private static final int COMPUTE_F32 = 68;
    private static final int DEFAULT_ALGORITHM = -1;
    /** NVIDIA's advice for Hopper; without it captures would allocate. */
    private static final long WORKSPACE_BYTES = 32L << 20;

    private final Arena arena = Arena.ofShared();
    private final MemorySegment one = arena.allocateFrom(JAVA_FLOAT, 1.0f);
    private final MemorySegment zero = arena.allocateFrom(JAVA_FLOAT, 0.0f);
    private final DeviceMemory workspace;
    private final int maxRows;
    private final long handle;

    /**
     * Binds cuBLAS to the stream that all products will run on.
     *
     * @param maxRows rows of all inputs and outputs
     */
    public Cublas(CudaStream stream, int maxRows) {
        this.maxRows = maxRows;
        // Here, so that a missing library is told as itself, not as the error of a class that cannot be initialised.
        ToolkitLibrary.cublas();
        stream.device().makeCurrent();
        try {
            MemorySegment out = arena.allocate(ADDRESS);
            CublasLibrary.check((int) CublasLibrary.CREATE.invokeExact(out), "cublasCreate");
            handle = out.get(ADDRESS, 0).address();
            CublasLibrary.check((int) CublasLibrary.SET_STREAM.invokeExact(handle, stream.address()),
                    "cublasSetStream");
            workspace = DeviceMemory.allocate(stream.device(), WORKSPACE_BYTES);
            CublasLibrary.check(
                    (int) CublasLibrary.SET_WORKSPACE.invokeExact(handle, workspace.address(), WORKSPACE_BYTES),
                    "cublasSetWorkspace");
        } catch (Throwable e) {
            throw ToolkitLibrary.unexpected(e);
        }
    }

    @Override
    public void bf16(CudaStream stream, int rows, DeviceMemory in, DeviceMemory weight, int columns, int k,
            DeviceMemory out) {
        multiply(stream, in, weight, columns, k, out, BF16);
    }

    @Override
    public void f32(CudaStream stream, int rows, DeviceMemory in, DeviceMemory weight, int columns, int k,
            DeviceMemory out) {
        multiply(stream, in, weight, columns, k, out, F32);
    }

    /**
     * cuBLAS counts columns first: the weight is its transposed A, the rows are its B, and the result comes out row by
     * row.
     */
    private void multiply(CudaStream stream, DeviceMemory in, DeviceMemory weight, int columns, int k, DeviceMemory out,
            int type) {
        int status;
        try {
            status = (int) CublasLibrary.GEMM.invokeExact(handle, TRANSPOSED, PLAIN, columns, maxRows, k, one,
                    weight.address(), BF16, k, in.address(), BF16, k, zero, out.address(), type, columns, COMPUTE_F32,
                    DEFAULT_ALGORITHM);
        } catch (Throwable e) {
            throw ToolkitLibrary.unexpected(e);
        }
        CublasLibrary.check(status, "cublasGemmEx");
        stream.retain(in);
        stream.retain(weight);
        stream.retain(out);
    }

    /**
     * A product for each of {@code count} weights that follow each other, on {@code rows} rows each: nothing is masked.
     */
    public void batched(int count, int rows, DeviceMemory in, DeviceMemory weight, int columns, int k,
            DeviceMemory out) {
        int status;
        try {
            status = (int) CublasLibrary.GEMM_STRIDED_BATCHED.invokeExact(handle, TRANSPOSED, PLAIN, columns, rows, k,
                    one, weight.address(), BF16, k, (long) columns * k, in.address(), BF16, k, (long) rows * k, zero,
                    out.address(), BF16, columns, (long) rows * columns, count, COMPUTE_F32, DEFAULT_ALGORITHM);
        } catch (Throwable e) {
            throw ToolkitLibrary.unexpected(e);
        }
        CublasLibrary.check(status, "cublasGemmStridedBatchedEx");
    }

    @Override
    public void close() {
        try {
            CublasLibrary.check((int) CublasLibrary.DESTROY.invokeExact(handle), "cublasDestroy");
        } catch (Throwable e) {
            throw ToolkitLibrary.unexpected(e);
        }
        workspace.close();
        arena.close();
    }
}
