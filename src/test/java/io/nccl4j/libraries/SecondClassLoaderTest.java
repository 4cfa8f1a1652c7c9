package io.nccl4j.libraries;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.processes.ChildJvm;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** A second class loader, as in a redeployment: refused in one sentence while the first lives, never a second copy. */
@Timeout(120)
class SecondClassLoaderTest {
    @TempDir
    Path folder;

    @Test
    void r7ASecondClassLoaderIsRefusedUntilTheFirstIsCollected() throws Exception {
        Path copy = folder.resolve("libnccl4j_emulator.so");
        Files.copy(Path.of(System.getProperty("nccl4j.emulator.library")), copy);
        try (ChildJvm child = ChildJvm.start(SecondClassLoaderProcess.class, Map.of("NCCL4J_BACKEND", "emulator"),
                copy.toString())) {
            String said = child.awaitEnd();
            assertThat(said).contains("first: devices 64");
            assertThat(said)
                    .containsPattern("second: io.nccl4j.NativeLibraryException: .*libnccl4j_emulator.so is in use by "
                            + "the class loader 'first' of this JVM: not loading it again");
            assertThat(said)
                    .containsPattern("third: io.nccl4j.NativeLibraryException: .* is in use by the class loader "
                            + "'first' of this JVM: not loading a second copy, " + copy);
            assertThat(said).contains("first is collected").contains("fourth: devices 64");
        }
    }
}
