package io.nccl4j.bootstrap;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.processes.ChildJvm;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Which device belongs to a rank, by what its process sees. */
@Timeout(120)
class DeviceTest {
    /** Rank 1 of two on this machine. */
    private static String deviceOfRank1(Map<String, String> environment) throws Exception {
        String port = Integer.toString(Ranks.freePort());
        try (ChildJvm first = ChildJvm.start(RankProcess.class, environment, "tcp", "localhost", port, "0", "2",
                "device");
                ChildJvm second = ChildJvm.start(RankProcess.class, environment, "tcp", "localhost", port, "1", "2",
                        "device")) {
            assertThat(first.awaitEnd()).contains("device 0");
            return second.awaitEnd();
        }
    }

    @Test
    void r13ARankHasTheDeviceOfItsLocalRank() throws Exception {
        assertThat(deviceOfRank1(Map.of("NCCL4J_EMU_DEVICES", "2"))).contains("device 1");
    }

    @Test
    void r13ARankHasTheOnlyDeviceThatItsProcessSees() throws Exception {
        assertThat(deviceOfRank1(Map.of("NCCL4J_EMU_DEVICES", "1", "CUDA_VISIBLE_DEVICES", "0"))).contains("device 0");
    }

    @Test
    void r13ADeviceThatIsNotThereIsExplained() throws Exception {
        assertThat(deviceOfRank1(Map.of("NCCL4J_EMU_DEVICES", "1"))).contains("failed")
                .contains("rank 1 is number 1 on its machine").contains("sees 1 device")
                .contains("CUDA_VISIBLE_DEVICES is");
    }
}
