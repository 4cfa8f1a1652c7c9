package io.nccl4j.emulator;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.ep.RankMask;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.processes.ChildJvm;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@EmulatedRanks(3)
@Timeout(120)
class FaultTest {
    /** What a rank does between the injection and the end. */
    @FunctionalInterface
    private interface Body {
        void run(LowLatencyLayer layer, int rank);
    }

    private static void withFault(EmulatedCluster cluster, Fault fault, Duration timeout, Body body) {
        cluster.run(rank -> {
            try (LowLatencyLayer layer = new LowLatencyLayer(rank.bootstrap(), rank.device(), timeout)) {
                layer.dispatch();
                rank.bootstrap().barrier();
                if (rank.rank() == 0) {
                    Emulator.inject(fault);
                }
                rank.bootstrap().barrier();
                body.run(layer, rank.rank());
                rank.bootstrap().barrier();
                if (rank.rank() == 0) {
                    Emulator.clearFaults();
                }
                rank.bootstrap().barrier();
            }
        });
    }

    @Test
    void aDelayedRankHoldsAllUp(EmulatedCluster cluster) {
        withFault(cluster, new Fault.Delay(1, 2, Duration.ofMillis(300)), Duration.ofSeconds(30), (layer, rank) -> {
            layer.dispatch();
            assertThat(layer.dispatch()).isGreaterThanOrEqualTo(Duration.ofMillis(250));
            assertThat(layer.group.maskQuery(layer.stream)).isEqualTo(RankMask.all(3));
        });
    }

    @Test
    void aSilentRankIsMaskedByTheOthers(EmulatedCluster cluster) {
        withFault(cluster, new Fault.Silence(2, 1), Duration.ofMillis(200), (layer, rank) -> {
            layer.dispatch();
            if (rank != 2) {
                assertThat(layer.group.asyncError()).isTrue();
                assertThat(layer.group.maskQuery(layer.stream)).isEqualTo(RankMask.all(3).without(2));
            }
        });
    }

    @Test
    void messagesOfOnePeerCanBeDropped(EmulatedCluster cluster) {
        withFault(cluster, new Fault.DropMessages(0, 1, 1), Duration.ofMillis(200), (layer, rank) -> {
            layer.dispatch();
            assertThat(layer.group.maskQuery(layer.stream))
                    .isEqualTo(rank == 0 ? RankMask.all(3).without(1) : RankMask.all(3));
        });
    }

    @Test
    void aProcessCanBeEndedAtAnOperation() throws Exception {
        try (ChildJvm child = ChildJvm.start(EndingProcess.class, Map.of())) {
            assertThat(child.awaitEnd()).contains("dispatch 1 done").doesNotContain("dispatch 2 done");
            assertThat(child.exitCode()).as("ended by SIGKILL").isEqualTo(128 + 9);
        }
    }
}
