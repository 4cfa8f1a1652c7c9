package io.nccl4j.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.processes.ChildJvm;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(120)
class StalledDeviceTest {
    @Test
    void h5ADeviceThatDidNotEndOnceIsNotWaitedForAgain() throws Exception {
        try (ChildJvm child = ChildJvm.start(StalledDeviceProcess.class,
                Map.of("JDK_JAVA_OPTIONS", "-Dnccl4j.close.limit.seconds=1"))) {
            assertThat(child.awaitEnd())
                    .contains("limits do not add up, freed 0", "freed 0 after its stream was closed")
                    .contains("freed 1 when the work had ended");
        }
    }
}
