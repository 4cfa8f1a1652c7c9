package io.nccl4j.examples.moe.kernels;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** The functions of cuBLAS 13 that the server calls, bound when first used. Pointers are plain longs. */
final class CublasLibrary {
    private static final ToolkitLibrary LIBRARY = ToolkitLibrary.cublas();

    static final MethodHandle CREATE = bind("cublasCreate_v2", FunctionDescriptor.of(JAVA_INT, ADDRESS));
    static final MethodHandle DESTROY = bind("cublasDestroy_v2", FunctionDescriptor.of(JAVA_INT, JAVA_LONG));
    static final MethodHandle SET_STREAM = bind("cublasSetStream_v2",
            FunctionDescriptor.of(JAVA_INT, JAVA_LONG, JAVA_LONG));
    static final MethodHandle SET_WORKSPACE = bind("cublasSetWorkspace_v2",
            FunctionDescriptor.of(JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG));
    /** handle, transa, transb, m, n, k, alpha, A, Atype, lda, B, Btype, ldb, beta, C, Ctype, ldc, computeType, algo. */
    static final MethodHandle GEMM = bind("cublasGemmEx",
            FunctionDescriptor.of(JAVA_INT, JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, ADDRESS,
                    JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_LONG, JAVA_INT, JAVA_INT, ADDRESS, JAVA_LONG, JAVA_INT,
                    JAVA_INT, JAVA_INT, JAVA_INT));
    /** The same with a stride after each leading dimension and the number of products before the compute type. */
    static final MethodHandle GEMM_STRIDED_BATCHED = bind("cublasGemmStridedBatchedEx",
            FunctionDescriptor.of(JAVA_INT, JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, ADDRESS,
                    JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_LONG, ADDRESS,
                    JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_INT));
    private static final MethodHandle STATUS_NAME = bind("cublasGetStatusName",
            FunctionDescriptor.of(ADDRESS, JAVA_INT));

    private CublasLibrary() {
    }

    private static MethodHandle bind(String function, FunctionDescriptor type) {
        return LIBRARY.bind(function, type);
    }

    static void check(int status, String function) {
        if (status != 0) {
            throw new IllegalStateException(function + " answered " + name(status));
        }
    }

    private static String name(int status) {
        try {
            MemorySegment name = (MemorySegment) STATUS_NAME.invokeExact(status);
            return name.reinterpret(Long.MAX_VALUE).getString(0);
        } catch (Throwable e) {
            throw ToolkitLibrary.unexpected(e);
        }
    }
}
