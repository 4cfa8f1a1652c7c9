package io.nccl4j.emulator;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.Layout;
import io.nccl4j.ep.RankMask;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
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

    /** A rank that is to be ended at its second operation; run in a JVM of its own. */
    public static final class EndingProcess {
        private EndingProcess() {
        }

        /** Prints each operation that is done. */
        public static void main(String[] arguments) {
            Emulator.use();
            Bootstrap bootstrap = Bootstraps.inProcess(1).getFirst();
            try (LowLatencyLayer layer = new LowLatencyLayer(bootstrap, CudaDevice.of(0), Duration.ofSeconds(30))) {
                Emulator.inject(new Fault.EndProcess(0, 2));
                for (int operation = 1; operation <= 2; operation++) {
                    layer.dispatch();
                    System.out.println("dispatch " + operation + " done");
                }
            }
        }
    }

    /** A rank's part of a low-latency layer whose tokens go to no expert: every operation still waits for all ranks. */
    private static final class LowLatencyLayer implements AutoCloseable {
        private static final Duration LIMIT = Duration.ofSeconds(20);
        private static final int HIDDEN = 512;
        private static final int TOKENS = 4;

        final Communicator communicator;
        final CudaStream stream;
        final EpGroup group;
        private final EpHandle handle;
        private final EpBuffers buffers;

        LowLatencyLayer(Bootstrap bootstrap, CudaDevice device, Duration timeout) {
            device.makeCurrent();
            communicator = Communicator.init(bootstrap, device);
            stream = CudaStream.create(device);
            group = EpGroup.create(communicator,
                    EpGroupConfig.lowLatency().experts(4 * bootstrap.size()).maxTokensPerRank(TOKENS)
                            .maxTokenBytes(HIDDEN * 2).layout(Layout.EXPERT_MAJOR).topK(2).mask().timeout(timeout)
                            .build());
            handle = group.createHandle();
            buffers = handle.allocateBuffers(BufferConfig.of(HIDDEN, DataType.BFLOAT16));
            buffers.routing().memory().fillAsync((byte) -1, stream);
            stream.await(LIMIT);
        }

        /** One dispatch, to its end; how long it took. */
        Duration dispatch() {
            long start = System.nanoTime();
            handle.dispatchAsync(buffers, TOKENS, stream);
            stream.await(LIMIT);
            return Duration.ofNanos(System.nanoTime() - start);
        }

        @Override
        public void close() {
            buffers.close();
            handle.close();
            group.close();
            stream.close();
            communicator.close();
        }
    }
}
