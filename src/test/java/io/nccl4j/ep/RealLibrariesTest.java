package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.processes.ChildJvm;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * The program for a GPU, on the emulator: Java refuses each case, and the library ends the process or loses the device.
 */
@Timeout(300)
class RealLibrariesTest {
    @Test
    void h1AndEveryAddressAreRefused() throws Exception {
        try (ChildJvm child = ChildJvm.start(RealLibraries.class, Map.of("JDK_JAVA_OPTIONS",
                "-Dnccl4j.backend=emulator", "NCCL4J_EMU_MISUSE", "abort", "NCCL4J_EMU_DEVICE_MEMORY", "1073741824"))) {
            child.await("after all of them right steps work; not refused: 0");
            for (String line = child.await(""); !line.equals("done"); line = child.await("")) {
                assertThat(line).contains("| without the check: ").doesNotContain("does not end", "no error");
            }
        }
    }
}
