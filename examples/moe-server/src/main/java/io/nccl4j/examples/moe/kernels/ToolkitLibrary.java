package io.nccl4j.examples.moe.kernels;

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

/**
 * A library of CUDA's toolkit that the server calls itself, found in a toolkit or among NVIDIA's Python wheels.
 *
 * @param name of its file
 */
record ToolkitLibrary(String name, SymbolLookup functions) {

    /** cuBLAS 13. */
    static ToolkitLibrary cublas() {
        return open("libcublas.so.13", "libcublasLt.so.13", "serve with --dense kernels");
    }

    /**
     * Opens it for the rest of the process.
     *
     * @param companion how the file begins that it opens by name and that lies beside it: opened before, it is found
     * @param remedy what to do if there is none, besides installing it
     * @throws ModelException if there is none
     */
    static ToolkitLibrary open(String name, String companion, String remedy) {
        List<String> tried = new ArrayList<>();
        for (Path folder : folders()) {
            Path file = folder.resolve(name);
            tried.add(file.toString());
            if (Files.isRegularFile(file)) {
                children(folder).stream().filter(other -> other.getFileName().toString().startsWith(companion)).sorted()
                        .forEach(other -> SymbolLookup.libraryLookup(other, Arena.global()));
                return new ToolkitLibrary(name, SymbolLookup.libraryLookup(file, Arena.global()));
            }
        }
        try {
            return new ToolkitLibrary(name, SymbolLookup.libraryLookup(name, Arena.global()));
        } catch (IllegalArgumentException e) {
            throw new ModelException(name + " is missing; tried the loader's own path and " + tried
                    + ": install CUDA's toolkit, name its folder in CUDA_HOME, or " + remedy, e);
        }
    }

    MethodHandle bind(String function, FunctionDescriptor type) {
        MemorySegment address = functions.find(function)
                .orElseThrow(() -> new ModelException(name + " has no function " + function));
        return Linker.nativeLinker().downcallHandle(address, type);
    }

    /** Folders of headers, beside those of libraries. */
    static List<Path> includes() {
        return folders().stream().map(folder -> folder.resolveSibling("include")).filter(Files::isDirectory).toList();
    }

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
            children(Path.of(path, "nvidia")).forEach(wheel -> folders.add(wheel.resolve("lib")));
        }
        folders.add(Path.of("/usr/local/cuda/lib64"));
        return folders;
    }

    private static List<Path> children(Path folder) {
        if (!Files.isDirectory(folder)) {
            return List.of();
        }
        try (Stream<Path> list = Files.list(folder)) {
            return list.toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** A bound function throws nothing but errors of the JVM. */
    static RuntimeException unexpected(Throwable e) {
        if (e instanceof Error error) {
            throw error;
        }
        return e instanceof RuntimeException exception ? exception : new IllegalStateException(e);
    }
}
