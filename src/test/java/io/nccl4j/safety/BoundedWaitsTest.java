package io.nccl4j.safety;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.processes.ChildJvm;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Every wait for a rank that does not come has its limit, and what cannot be destroyed then is left alone. */
@Timeout(240)
class BoundedWaitsTest {
    @Test
    void nothingWaitsLongerThanItsLimit() throws Exception {
        try (ChildJvm child = ChildJvm.start(BoundedWaitsProcess.class,
                Map.of("JDK_JAVA_OPTIONS", "-Dnccl4j.close.limit.seconds=1", "NCCL4J_EMU_MISUSE", "abort"))) {
            String said = child.awaitEnd();
            for (String shape : List.of("LL_EXPERT_MAJOR", "HT_FLAT")) {
                assertThat(said)
                        .containsPattern(
                                shape + " create said WaitTimeoutException: the exchange before EpGroup.create on "
                                        + "Communicator#\\d+.* has not returned within \\d+ ms")
                        .containsPattern(shape
                                + " create abort refused: .* while \\[the exchange before EpGroup.create] is under way")
                        .containsPattern(
                                shape + " warmUp said WaitTimeoutException: work on CudaStream#\\d+.* still pending")
                        .containsPattern(
                                shape + " await said WaitTimeoutException: work on CudaStream#\\d+.* still pending")
                        .contains(shape + " warmUp aborted", shape + " await aborted", shape + " destroy aborted");
                for (String alone : List.of("create", "warmUp", "await", "destroy")) {
                    assertThat(said).contains(shape + " " + alone + " closed true, destroys 0, within the limits true");
                }
                assertThat(said).contains(shape + " leave said nothing").contains(shape
                        + " leave closed true, group destroys 1, communicator destroys 0, within the limits true");
            }
            assertThat(said)
                    .containsPattern("maskClean said WaitTimeoutException: ncclEpMaskClean on .* within 1000 ms")
                    .containsPattern("maskClean abort refused: .* while \\[ncclEpMaskClean] is under way")
                    .contains("maskClean closed true, destroys 0").endsWith("done");
            assertThat(child.exitCode()).isZero();
        }
    }
}
