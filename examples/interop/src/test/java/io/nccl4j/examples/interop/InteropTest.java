package io.nccl4j.examples.interop;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The program on the emulator, which JavaCPP's JNI library finds under the names that it needs. */
class InteropTest {
    @TempDir
    Path folder;

    private String run(String part) throws IOException, InterruptedException {
        Path emulator = folder.resolve("libnccl4j_emulator.so");
        try (InputStream in = InteropTest.class.getResourceAsStream("/linux-x86_64/libnccl4j_emulator.so")) {
            Files.copy(in, emulator);
        }
        for (String name : List.of("libcudart.so.13", "libcuda.so.1")) {
            Files.createSymbolicLink(folder.resolve(name), emulator);
        }
        Path output = folder.resolve("output.txt");
        ProcessBuilder builder = new ProcessBuilder(Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED", "-Dnccl4j.backend=emulator",
                "-Dnccl4j.emulator.library=" + emulator, "-Dorg.bytedeco.javacpp.cachedir=" + folder.resolve("cache"),
                "-cp", System.getProperty("java.class.path"), Main.class.getName(), part).redirectErrorStream(true)
                .redirectOutput(output.toFile());
        builder.environment().put("LD_LIBRARY_PATH", folder.toString());
        Process process = builder.start();
        try {
            assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        } finally {
            process.destroyForcibly();
        }
        return Files.readString(output);
    }

    @Test
    void javaCppExchangesMemoryAndStreams() throws IOException, InterruptedException {
        assertThat(run("javacpp").lines().filter(line -> line.matches("(PASS|FAIL) .*"))).containsExactly(
                "PASS tensors in its memory, on its stream", "PASS buffers from its allocator, on its stream",
                "PASS our buffers and stream, used by it", "PASS JavaCPP with CUDA runtime 13000, ranks: 2");
    }

    /** If this fails, JCuda can be tested on the emulator. */
    @Test
    void jcudaHasACudaRuntimeOfItsOwnWhichNeedsADriver() throws IOException, InterruptedException {
        assertThat(run("jcuda")).contains("JCuda: cudaErrorInsufficientDriver");
    }
}
