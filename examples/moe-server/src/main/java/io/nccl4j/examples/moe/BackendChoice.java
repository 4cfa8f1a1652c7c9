package io.nccl4j.examples.moe;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraries;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.examples.moe.model.ModelException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;

/** Loads the libraries that a command runs on. */
public final class BackendChoice {
    private BackendChoice() {
    }

    public static void use(Backend backend) {
        if (backend == Backend.EMULATOR) {
            Emulator.use();
        } else {
            checkCompiler();
            NativeLibraries.load();
        }
    }

    /** NCCL EP compiles its kernels when they are used first, and says little if it cannot. */
    private static void checkCompiler() {
        Map<String, String> environment = System.getenv();
        Stream<String> named = Stream.of("NCCL_EP_JIT_NVCC", "NVCC").map(environment::get);
        Stream<String> homes = Stream.of("CUDA_HOME", "CUDA_PATH").map(environment::get).filter(Objects::nonNull)
                .map(home -> home + "/bin/nvcc");
        Stream<String> path = Stream.of(environment.getOrDefault("PATH", "").split(":"))
                .map(folder -> folder + "/nvcc");
        if (Stream.of(named, homes, path).flatMap(names -> names).filter(Objects::nonNull)
                .noneMatch(file -> Files.isExecutable(Path.of(file)))) {
            throw new ModelException(
                    "NCCL EP compiles its kernels with nvcc, and there is none on the PATH: install CUDA's "
                            + "toolkit and name its folder in CUDA_HOME");
        }
    }
}
