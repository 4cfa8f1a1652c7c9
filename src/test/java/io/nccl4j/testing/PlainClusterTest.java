package io.nccl4j.testing;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.processes.ChildJvm;
import java.util.Map;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A cluster without the JUnit extension: a rank's mistake is an exception with its reason, not the end of the JVM. */
@Timeout(120)
class PlainClusterTest {
    @ParameterizedTest
    @CsvSource({"throws, LL_EXPERT_MAJOR, a mistake of mine", "throws, HT_FLAT, a mistake of mine",
            "one step less, LL_RANK_MAJOR, ranks failed", "one step less, HT_EXPERT_MAJOR, ranks failed",
            "expert 99, LL_EXPERT_MAJOR, topk_idx holds expert", "expert 99, HT_FLAT, topk_idx holds expert",
            "left open, HT_FLAT, the group is left open"})
    void u1AMistakeOfARankIsAnExceptionWithItsReason(String mistake, String kind, String reason) throws Exception {
        try (ChildJvm child = ChildJvm.start(PlainClusterProcess.class,
                Map.of("JDK_JAVA_OPTIONS", "-Dnccl4j.close.limit.seconds=2"), mistake, kind)) {
            String said = child.awaitEnd();
            assertThat(said).contains("caught ").contains(reason).endsWith("done");
            assertThat(child.exitCode()).isZero();
        }
    }
}
