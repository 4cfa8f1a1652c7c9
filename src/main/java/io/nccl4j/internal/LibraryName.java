package io.nccl4j.internal;

import io.nccl4j.NativeLibraryException;
import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.bindings.ncclep.NcclEp;
import java.lang.foreign.SymbolLookup;
import java.util.List;

/** The real libraries, in the order in which they must be loaded: each satisfies the next one's needs by soname. */
public enum LibraryName {
    /** The CUDA runtime: under a libcudart older than CUDA 13 some plain function names have an older ABI. */
    CUDART("CUDA runtime", "the CUDA toolkit 13, or the Python package nvidia-cuda-runtime", "cudart",
            "libcudart.so.13", "libcudart.so", "cudaGraphLaunch", 13_000,
            List.of("", "lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib", "nvidia/cu13/lib",
                    "nvidia/cuda_runtime/lib")),
    /** NCCL: 2.30 is what NCCL EP needs. */
    NCCL("NCCL", "NCCL 2.30 or newer, or the Python package nvidia-nccl-cu13", "nccl", "libnccl.so.2", "libnccl.so",
            "ncclCommWindowRegister", 23_000, List.of("", "lib", "lib64", "nvidia/nccl/lib")),
    /** NCCL EP; NVIDIA's Python package has it beside, not below, {@code nvidia}. */
    NCCL_EP("NCCL EP", "NCCL EP of github.com/NVIDIA/nccl-extensions", "nccl_ep", "libnccl_ep.so.0", "libnccl_ep.so",
            "ncclEpUpdateHandle", 0,
            List.of("", "lib", "lib64", "nccl/ep/lib", "nvidia/nccl/lib", "nvidia/nccl_ep/lib"));

    private final String title;
    private final String origin;
    private final String shortName;
    private final List<String> fileNames;
    private final String newestSymbol;
    private final int leastVersion;
    private final List<String> folders;

    LibraryName(String title, String origin, String shortName, String soname, String fileName, String newestSymbol,
            int leastVersion, List<String> folders) {
        this.title = title;
        this.origin = origin;
        this.shortName = shortName;
        this.fileNames = List.of(soname, fileName);
        this.newestSymbol = newestSymbol;
        this.leastVersion = leastVersion;
        this.folders = folders;
    }

    /** Its name in texts. */
    String title() {
        return title;
    }

    /** The product or package to install. */
    String origin() {
        return origin;
    }

    /** The system property that names this library's file. */
    String property() {
        return "nccl4j." + shortName + ".library";
    }

    /** File names, versioned sonames first. */
    List<String> fileNames() {
        return fileNames;
    }

    /** Where it lies below a toolkit, a prefix or a Python site-packages folder. */
    List<String> folders() {
        return folders;
    }

    /**
     * Its version, as its C function answers. None of these needs a driver or a device.
     *
     * @throws NativeLibraryException if the library, which was loaded from {@code file}, is too old
     */
    int version(String file) {
        if (SymbolLookup.loaderLookup().find(newestSymbol).isEmpty()) {
            throw new NativeLibraryException(file + " has no " + newestSymbol + "; too old or not what it seems to be",
                    List.of());
        }
        int version = Out.ofInt(switch (this) {
            case CUDART -> CudaRuntime::cudaRuntimeGetVersion;
            case NCCL -> Nccl::ncclGetVersion;
            case NCCL_EP -> NcclEp::ncclEpGetVersion;
        });
        if (version < leastVersion) {
            throw new NativeLibraryException(file + " is " + title + " " + words(version) + ", and at least "
                    + words(leastVersion) + " is needed", List.of());
        }
        return version;
    }

    /** Its version as people write it, such as 2.30.7 for 23007. */
    public String words(int version) {
        return this == CUDART
                ? version / 1000 + "." + version % 1000 / 10
                : version / 10_000 + "." + version / 100 % 100 + "." + version % 100;
    }
}
