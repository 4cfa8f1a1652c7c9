package io.nccl4j.internal;

import io.nccl4j.NativeLibraryException;
import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.bindings.ncclep.NcclEp;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.function.ToIntFunction;

/** Whether a loaded library is new enough. None of the questions needs a driver or a device. */
final class LibraryVersion {
    /** CUDA 13: under an older libcudart some plain function names have an older ABI. */
    private static final int MIN_CUDA = 13_000;
    /** NCCL 2.30: what NCCL EP needs. */
    private static final int MIN_NCCL = 23_000;

    private LibraryVersion() {
    }

    /**
     * Its version, as its C function answers.
     *
     * @throws NativeLibraryException if it is too old
     */
    static int check(LibraryName name, String file) {
        return switch (name) {
            case CUDART -> check(name, file, "cudaGraphLaunch", MIN_CUDA, CudaRuntime::cudaRuntimeGetVersion);
            case NCCL -> check(name, file, "ncclCommWindowRegister", MIN_NCCL, Nccl::ncclGetVersion);
            case NCCL_EP -> check(name, file, "ncclEpUpdateHandle", 0, NcclEp::ncclEpGetVersion);
        };
    }

    private static int check(LibraryName name, String file, String symbol, int least,
            ToIntFunction<MemorySegment> question) {
        if (SymbolLookup.loaderLookup().find(symbol).isEmpty()) {
            throw new NativeLibraryException(file + " has no " + symbol + "; too old or not what it seems to be",
                    List.of());
        }
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.JAVA_INT);
            question.applyAsInt(out);
            int version = out.get(ValueLayout.JAVA_INT, 0);
            if (version < least) {
                throw new NativeLibraryException(file + " is " + name.title() + " " + name.words(version)
                        + ", and at least " + name.words(least) + " is needed", List.of());
            }
            return version;
        }
    }
}
