package io.nccl4j.safety;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.processes.ChildJvm;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import java.util.Map;
import org.junit.jupiter.api.Timeout;

/** A server that is told to stop in the middle of its replays. */
@Timeout(60)
class StoppedServerTest {
    /** The limit of a close is longer than the test: nothing waits for it where nothing hangs. */
    @EachLayerKind
    void r17AServerThatIsToldToStopClosesEverythingAndWaitsForNoLimit(LayerKind kind) throws Exception {
        try (ChildJvm server = ChildJvm.start(StoppedServerProcess.class,
                Map.of("JDK_JAVA_OPTIONS", "-Dnccl4j.close.limit.seconds=600"), kind.name())) {
            server.await("serving");
            server.terminate();
            assertThat(server.awaitEnd())
                    .containsPattern("stopped, alive false, left EmulatorUsage\\[deviceAllocations=0, "
                            + ".*pinnedAllocations=0, .*streams=0, events=0, graphs=0, graphExecs=0, communicators=0, "
                            + "windows=0, groups=0, handles=0");
            assertThat(server.exitCode()).isEqualTo(128 + 15);
        }
    }
}
