package io.nccl4j.internal;

import java.util.List;

/** The real libraries, in the order in which they must be loaded: each satisfies the next one's needs by soname. */
public enum LibraryName {
    /** The CUDA runtime. */
    CUDART("CUDA runtime", "the CUDA toolkit 13, or the Python package nvidia-cuda-runtime", "cudart",
            "libcudart.so.13", "libcudart.so", List.of("", "lib64", "lib", "targets/x86_64-linux/lib",
                    "targets/sbsa-linux/lib", "nvidia/cu13/lib", "nvidia/cuda_runtime/lib")),
    /** NCCL. */
    NCCL("NCCL", "NCCL 2.30 or newer, or the Python package nvidia-nccl-cu13", "nccl", "libnccl.so.2", "libnccl.so",
            List.of("", "lib", "lib64", "nvidia/nccl/lib")),
    /** NCCL EP; NVIDIA's Python package has it beside, not below, {@code nvidia}. */
    NCCL_EP("NCCL EP", "NCCL EP of github.com/NVIDIA/nccl-extensions", "nccl_ep", "libnccl_ep.so.0", "libnccl_ep.so",
            List.of("", "lib", "lib64", "nccl/ep/lib", "nvidia/nccl/lib", "nvidia/nccl_ep/lib"));

    private final String title;
    private final String origin;
    private final String shortName;
    private final List<String> fileNames;
    private final List<String> folders;

    LibraryName(String title, String origin, String shortName, String soname, String fileName, List<String> folders) {
        this.title = title;
        this.origin = origin;
        this.shortName = shortName;
        this.fileNames = List.of(soname, fileName);
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

    /** Its version as people write it, such as 2.30.7 for 23007. */
    public String words(int version) {
        return this == CUDART
                ? version / 1000 + "." + version % 1000 / 10
                : version / 10_000 + "." + version / 100 % 100 + "." + version % 100;
    }
}
