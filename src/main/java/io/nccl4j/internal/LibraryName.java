package io.nccl4j.internal;

import java.util.List;

/** The real libraries, in the order in which they must be loaded: each satisfies the next one's needs by soname. */
enum LibraryName {
    CUDART("cudart", List.of("libcudart.so.13", "libcudart.so"), List.of("", "lib64", "lib", "targets/x86_64-linux/lib",
            "targets/sbsa-linux/lib", "nvidia/cu13/lib", "nvidia/cuda_runtime/lib")), NCCL("nccl",
                    List.of("libnccl.so.2", "libnccl.so"), List.of("", "lib", "lib64", "nvidia/nccl/lib")), NCCL_EP(
                            "nccl_ep", List.of("libnccl_ep.so.0", "libnccl_ep.so"),
                            List.of("", "lib", "lib64", "nvidia/nccl/lib", "nvidia/nccl_ep/lib", "nccl/ep/lib"));

    private final String shortName;
    private final List<String> fileNames;
    private final List<String> folders;

    LibraryName(String shortName, List<String> fileNames, List<String> folders) {
        this.shortName = shortName;
        this.fileNames = fileNames;
        this.folders = folders;
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
}
