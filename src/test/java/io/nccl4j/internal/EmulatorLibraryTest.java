package io.nccl4j.internal;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class EmulatorLibraryTest {
    private static final Path FILE = Path.of("/tmp/nccl4j-1/libnccl4j_emulator.so");

    @Test
    void u6AFolderThatIsMountedNoexecIsNamedWithBothRemedies() {
        // As glibc says it of a file below such a mount.
        String words = FILE + ": " + FILE + ": failed to map segment from shared object";
        assertThat(EmulatorLibrary.explain(FILE, words)).contains(words).containsOnlyOnce("noexec")
                .contains("-Djava.io.tmpdir=<folder>", "-Dnccl4j.emulator.library=<file>");
        assertThat(EmulatorLibrary.explain(FILE, "file too short")).isEqualTo(FILE + ": file too short");
    }
}
