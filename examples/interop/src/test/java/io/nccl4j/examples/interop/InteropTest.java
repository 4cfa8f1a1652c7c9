package io.nccl4j.examples.interop;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The program on the emulator, which JavaCPP's JNI library finds under the names that it needs. */
class InteropTest {
    @TempDir
    Path folder;

    private String run(String part) throws IOException, InterruptedException {
        Emulated emulated = Emulated.in(folder);
        try (Emulated.Running program = emulated.start(emulated.java(Main.class, part), Map.of())) {
            return program.end();
        }
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
