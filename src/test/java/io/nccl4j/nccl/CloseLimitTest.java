package io.nccl4j.nccl;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.processes.ChildJvm;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(120)
class CloseLimitTest {
    @Test
    void whatAnAbsentRankHoldsUpIsLeftAloneAfterTheLimit() throws Exception {
        try (ChildJvm child = ChildJvm.start(AbsentPeer.class,
                Map.of("JDK_JAVA_OPTIONS", "-Dnccl4j.close.limit.seconds=1"))) {
            String said = child.awaitEnd();
            assertThat(said)
                    .containsPattern(
                            "register: ncclCommWindowRegister on Communicator#\\d+.* has not returned within 1000 ms")
                    .containsPattern("abort: .* cannot be aborted while \\[ncclCommWindowRegister] is under way")
                    .contains("after register: closed true, destroyed 0")
                    .contains("after reduce: closed true, destroyed 0, freed 0, at the limit true").endsWith("done");
        }
    }
}
