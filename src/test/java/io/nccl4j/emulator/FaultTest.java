package io.nccl4j.emulator;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.RankMask;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.processes.ChildJvm;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@EmulatedRanks(3)
@Timeout(120)
class FaultTest {
    /** The work of a rank between the injection and the end. */
    @FunctionalInterface
    private interface Body {
        void run(EmptyLayer layer, int rank);
    }

    private static void withFault(EmulatedCluster cluster, Fault fault, Duration timeout, Body body) {
        cluster.run(rank -> {
            try (EmptyLayer layer = EmptyLayer.of(rank.bootstrap(), rank.device(), timeout)) {
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
            assertThat(layer.mask()).isEqualTo(RankMask.all(3));
        });
    }

    @Test
    void aSilentRankIsMaskedByTheOthers(EmulatedCluster cluster) {
        withFault(cluster, new Fault.Silence(2, 1), Duration.ofMillis(200), (layer, rank) -> {
            layer.dispatch();
            if (rank != 2) {
                assertThat(layer.rank().group().asyncError()).isTrue();
                assertThat(layer.mask()).isEqualTo(RankMask.all(3).without(2));
            }
        });
    }

    @Test
    void messagesOfOnePeerCanBeDropped(EmulatedCluster cluster) {
        withFault(cluster, new Fault.DropMessages(0, 1, 1), Duration.ofMillis(200), (layer, rank) -> {
            layer.dispatch();
            assertThat(layer.mask()).isEqualTo(rank == 0 ? RankMask.all(3).without(1) : RankMask.all(3));
        });
    }

    @Test
    void aProcessCanBeEndedAtAnOperation() throws Exception {
        try (ChildJvm child = ChildJvm.start(EndingProcess.class, Map.of())) {
            assertThat(child.awaitEnd()).contains("dispatch 1 done").doesNotContain("dispatch 2 done");
            assertThat(child.exitCode()).as("ended by SIGKILL").isEqualTo(128 + 9);
        }
    }

    /** A rank that is to be ended at its second operation; run in a JVM of its own. */
    public static final class EndingProcess {
        private EndingProcess() {
        }

        /** Prints each operation that is done. */
        public static void main(String[] arguments) {
            Emulator.use();
            CudaDevice.of(0).makeCurrent();
            Bootstrap bootstrap = Bootstraps.inProcess(1).getFirst();
            try (EmptyLayer layer = EmptyLayer.of(bootstrap, CudaDevice.of(0), Duration.ofSeconds(30))) {
                Emulator.inject(new Fault.EndProcess(0, 2));
                for (int operation = 1; operation <= 2; operation++) {
                    layer.dispatch();
                    System.out.println("dispatch " + operation + " done");
                }
            }
        }
    }

    /** A rank's part of a layer whose tokens go to no expert: every operation still waits for all ranks. */
    private record EmptyLayer(MoeRank rank, EpHandle handle, EpBuffers buffers) implements AutoCloseable {
        private static final int TOKENS = 4;
        private static final BufferConfig ROWS = BufferConfig.of(512, DataType.BFLOAT16);

        static EmptyLayer of(Bootstrap bootstrap, CudaDevice device, Duration timeout) {
            EpShape shape = new EpShape(bootstrap.size(), 4 * bootstrap.size(), 2, TOKENS);
            MoeRank rank = new MoeRank(bootstrap, device,
                    LayerKind.LL_EXPERT_MAJOR.config(shape, ROWS.hidden() * Short.BYTES).mask().timeout(timeout), ROWS);
            EpHandle handle = rank.own(rank.group().createHandle());
            return new EmptyLayer(rank, handle, rank.own(handle.allocateBuffers(ROWS)));
        }

        /** One dispatch, to its end; how long it took. */
        Duration dispatch() {
            long start = System.nanoTime();
            handle.dispatchAsync(buffers, TOKENS, rank.stream());
            rank.await();
            return Duration.ofNanos(System.nanoTime() - start);
        }

        RankMask mask() {
            return rank.group().maskQuery(rank.stream());
        }

        @Override
        public void close() {
            rank.close();
        }
    }
}
