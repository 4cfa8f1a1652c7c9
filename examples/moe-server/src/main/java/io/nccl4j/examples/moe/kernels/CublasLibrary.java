package io.nccl4j.examples.moe.kernels;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.examples.moe.model.ModelException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/** The functions of cuBLAS 13 that the server calls, bound when first used. Pointers are plain longs. */
final class CublasLibrary {
    private static final String BLAS = "libcublas.so.13";
    /** cuBLAS opens it by this name: loaded before, it is found wherever it lies. */
    private static final String BLAS_LT = "libcublasLt.so.13";
    private static final SymbolLookup LIBRARY = load();

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
        MemorySegment address = LIBRARY.find(function)
                .orElseThrow(() -> new ModelException(BLAS + " has no function " + function));
        return Linker.nativeLinker().downcallHandle(address, type);
    }

    private static SymbolLookup load() {
        open(BLAS_LT);
        return open(BLAS);
    }

    private static SymbolLookup open(String name) {
        List<String> tried = new ArrayList<>();
        for (Path folder : folders()) {
            Path file = folder.resolve(name);
            tried.add(file.toString());
            if (Files.isRegularFile(file)) {
                return SymbolLookup.libraryLookup(file, Arena.global());
            }
        }
        try {
            return SymbolLookup.libraryLookup(name, Arena.global());
        } catch (IllegalArgumentException e) {
            throw new ModelException(
                    name + " is missing; tried the loader's own path and " + tried
                            + ": install CUDA's toolkit, name its folder in CUDA_HOME, or serve with --dense kernels",
                    e);
        }
    }

    /** A toolkit, or Python's site-packages with NVIDIA's wheels. */
    private static List<Path> folders() {
        List<Path> folders = new ArrayList<>();
        for (String variable : List.of("CUDA_HOME", "CUDA_PATH")) {
            String home = System.getenv(variable);
            if (home != null) {
                folders.add(Path.of(home, "lib64"));
            }
        }
        String paths = System.getProperty("nccl4j.library.path", System.getenv("NCCL4J_LIBRARY_PATH"));
        for (String path : paths == null ? new String[0] : paths.split(":")) {
            folders.add(Path.of(path));
            folders.addAll(children(Path.of(path, "nvidia")));
        }
        folders.add(Path.of("/usr/local/cuda/lib64"));
        return folders;
    }

    private static List<Path> children(Path wheels) {
        if (!Files.isDirectory(wheels)) {
            return List.of();
        }
        try (Stream<Path> list = Files.list(wheels)) {
            return list.map(wheel -> wheel.resolve("lib")).toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
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
            throw unexpected(e);
        }
    }

    /** What a bound function can throw is nothing but an error of the JVM. */
    static RuntimeException unexpected(Throwable e) {
        if (e instanceof Error error) {
            throw error;
        }
        return e instanceof RuntimeException exception ? exception : new IllegalStateException(e);
    }
}
