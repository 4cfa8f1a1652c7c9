package io.nccl4j.nccl;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static io.nccl4j.checks.Refusals.assertThrown;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import java.time.Duration;
import java.util.function.BiConsumer;
import org.junit.jupiter.api.Test;

@EmulatedRanks(4)
class CollectivesTest {
    private static final Duration LIMIT = Duration.ofSeconds(20);

    /** Makes a call on buffers that hold these values, and looks at the second one. */
    private static void check(Communicator communicator, CudaStream stream, int[] send, int[] receive,
            BiConsumer<DeviceMemory, DeviceMemory> call, int... expected) {
        try (DeviceMemory from = DeviceArrays.ints(communicator.device(), send);
                DeviceMemory to = DeviceArrays.ints(communicator.device(), receive)) {
            call.accept(from, to);
            stream.await(LIMIT);
            assertThat(DeviceArrays.ints(to)).containsExactly(expected);
        }
    }

    private static int[] ints(int... values) {
        return values;
    }

    @Test
    void allGatherCollectsByRank(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (self, communicator, stream) -> {
            check(communicator, stream, ints(self.rank(), self.rank() * 10), new int[8],
                    (send, receive) -> communicator.collectives().allGather(send, receive, 2, DataType.INT32, stream),
                    0, 0, 1, 10, 2, 20, 3, 30);
        });
    }

    @Test
    void allGatherHonoursOffsets(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (self, communicator, stream) -> {
            check(communicator, stream, ints(-1, -1, self.rank() + 1), ints(-7, 0, 0, 0, 0, -7), (send,
                    receive) -> communicator.collectives().allGather(send, 8, receive, 4, 1, DataType.INT32, stream),
                    -7, 1, 2, 3, 4, -7);
        });
    }

    @Test
    void allReduceHasFiveOperations(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (self, communicator, stream) -> {
            assertThat(reduced(communicator, stream, ReduceOp.SUM, self.rank() + 1f)).isEqualTo(10f);
            assertThat(reduced(communicator, stream, ReduceOp.PRODUCT, self.rank() + 1f)).isEqualTo(24f);
            assertThat(reduced(communicator, stream, ReduceOp.MAX, self.rank() + 1f)).isEqualTo(4f);
            assertThat(reduced(communicator, stream, ReduceOp.MIN, self.rank() + 1f)).isEqualTo(1f);
            assertThat(reduced(communicator, stream, ReduceOp.AVERAGE, self.rank() + 1f)).isEqualTo(2.5f);
        });
    }

    private static float reduced(Communicator communicator, CudaStream stream, ReduceOp op, float mine) {
        try (DeviceMemory buffer = DeviceArrays.floats(communicator.device(), mine)) {
            communicator.collectives().allReduce(buffer, buffer, 1, DataType.FLOAT32, op, stream);
            stream.await(LIMIT);
            return DeviceArrays.floats(buffer)[0];
        }
    }

    @Test
    void broadcastSendsTheRoots(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (self, communicator, stream) -> {
            check(communicator, stream, ints(0), ints(self.rank(), self.rank() + 100),
                    (unused, buffer) -> communicator.collectives().broadcast(buffer, 2, DataType.INT32, 2, stream), 2,
                    102);
        });
    }

    @Test
    void reduceGivesToTheRootOnly(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (self, communicator, stream) -> {
            check(communicator, stream, ints(1 << self.rank()), ints(-1), (send, receive) -> communicator.collectives()
                    .reduce(send, receive, 1, DataType.INT32, ReduceOp.SUM, 3, stream), self.rank() == 3 ? 15 : -1);
        });
    }

    @Test
    void reduceNeedsNoReceiveBufferElsewhere(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (self, communicator, stream) -> {
            int rank = self.rank();
            int[] expected = rank == 0 ? ints(3, 3) : ints(rank, rank);
            check(communicator, stream, ints(7), ints(rank, rank), (small, send) -> {
                communicator.collectives().reduce(send, rank == 0 ? send : small, 2, DataType.INT32, ReduceOp.MAX, 0,
                        stream);
                stream.await(LIMIT);
                assertThat(DeviceArrays.ints(small)).containsExactly(7);
            }, expected);
        });
    }

    @Test
    void reduceScatterGivesEachRankItsPart(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (self, communicator, stream) -> {
            int rank = self.rank();
            check(communicator, stream, ints(rank, 10 + rank, 20 + rank, 30 + rank), ints(0),
                    (send, receive) -> communicator.collectives().reduceScatter(send, receive, 1, DataType.INT32,
                            ReduceOp.SUM, stream),
                    6 + 40 * rank);
        });
    }

    @Test
    void allToAllTransposes(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (self, communicator, stream) -> {
            int rank = self.rank();
            check(communicator, stream, ints(rank * 10, rank * 10 + 1, rank * 10 + 2, rank * 10 + 3), new int[4],
                    (send, receive) -> communicator.collectives().allToAll(send, receive, 1, DataType.INT32, stream),
                    rank, 10 + rank, 20 + rank, 30 + rank);
        });
    }

    @Test
    void aRingOfSendsAndReceivesIsOneGroup(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (self, communicator, stream) -> {
            int rank = self.rank();
            int before = (rank + 3) % 4;
            check(communicator, stream, ints(0), ints(rank, -1), (unused, buffer) -> Communicator.group(() -> {
                communicator.collectives().send(buffer, 0, 1, DataType.INT32, (rank + 1) % 4, stream);
                communicator.collectives().receive(buffer, 4, 1, DataType.INT32, before, stream);
            }), rank, before);
        });
    }

    @Test
    void aCapturedCollectiveReadsNewDataAtEachReplay(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (self, communicator, stream) -> {
            CudaDevice device = communicator.device();
            try (DeviceMemory buffer = DeviceMemory.allocate(device, 4);
                    CudaGraph graph = stream.capture(() -> communicator.collectives().allReduce(buffer, buffer, 1,
                            DataType.INT32, ReduceOp.SUM, stream));
                    CudaGraphExec step = graph.instantiate()) {
                for (int replay = 1; replay <= 3; replay++) {
                    try (DeviceMemory fresh = DeviceArrays.ints(device, replay * (self.rank() + 1))) {
                        buffer.copyFromAsync(fresh, 4, stream);
                        step.launch(stream);
                        stream.await(LIMIT);
                        assertThat(DeviceArrays.ints(buffer)).containsExactly(10 * replay);
                    }
                }
            }
        });
    }

    @Test
    void aGraphKeepsCommunicatorAndMemoryOpen(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (self, communicator, stream) -> {
            try (DeviceMemory buffer = DeviceMemory.allocate(communicator.device(), 4);
                    CudaGraph graph = stream.capture(() -> communicator.collectives().allReduce(buffer, buffer, 1,
                            DataType.INT32, ReduceOp.SUM, stream))) {
                assertIllegalState(communicator::close, "Communicator#", "in use by CudaGraph#");
                assertIllegalState(buffer::close, "in use by CudaGraph#");
                assertThat(communicator.isUsable()).isTrue();
                assertThat(graph.nodeCount()).isPositive();
            }
        });
    }

    @Test
    void badOperandsAreRefusedWithWhatIsAllowed(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (self, communicator, stream) -> {
            CudaDevice other = CudaDevice.of(5);
            try (DeviceMemory buffer = DeviceMemory.allocate(communicator.device(), 64);
                    DeviceMemory foreign = DeviceMemory.allocate(other, 64);
                    CudaStream foreignStream = CudaStream.create(other)) {
                assertIllegalArgument(
                        () -> communicator.collectives().allGather(buffer, buffer, 5, DataType.INT32, stream),
                        "receive buffer: 20 elements of INT32 from byte 0", "64 bytes");
                assertIllegalArgument(() -> communicator.collectives().allReduce(buffer, 61, buffer, 0, 1,
                        DataType.INT32, ReduceOp.SUM, stream), "send buffer: 1 elements");
                assertIllegalArgument(() -> communicator.collectives().allReduce(buffer, 0, buffer, -4, 1,
                        DataType.INT32, ReduceOp.SUM, stream), "from byte -4");
                assertIllegalArgument(() -> communicator.collectives().allReduce(buffer, buffer, -1, DataType.INT32,
                        ReduceOp.SUM, stream), "-1 elements");
                assertIllegalArgument(() -> communicator.collectives().allReduce(buffer, buffer, Long.MAX_VALUE,
                        DataType.INT32, ReduceOp.SUM, stream));
                assertIllegalArgument(() -> communicator.collectives().allGather(buffer, buffer, Long.MAX_VALUE / 2,
                        DataType.UINT8, stream), "too many");
                assertIllegalArgument(() -> communicator.collectives().allReduce(foreign, buffer, 1, DataType.INT32,
                        ReduceOp.SUM, stream), "is not memory of CUDA device");
                assertIllegalArgument(() -> communicator.collectives().allReduce(buffer, buffer, 1, DataType.INT32,
                        ReduceOp.SUM, foreignStream), "is not a stream of CUDA device");
                assertIllegalArgument(() -> communicator.collectives().broadcast(buffer, 1, DataType.INT32, 4, stream),
                        "root is rank 4", "ranks 0 to 3");
                assertIllegalArgument(() -> communicator.collectives().send(buffer, 0, 1, DataType.INT32, -1, stream),
                        "peer is rank -1");
                assertIllegalArgument(
                        () -> communicator.collectives().broadcast(buffer, 1, DataType.FLOAT4X2, 0, stream), "UINT8");
            }
        });
    }

    @Test
    void creationAndCloseAreRefusedInsideOfAGroup(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (self, communicator, stream) -> Communicator.group(() -> {
            assertIllegalState(() -> communicator.split(0, 0), "cannot be part of a group");
            assertIllegalState(communicator::close, "cannot be part of a group");
        }));
    }

    @Test
    void h4AGroupNeedsAPlatformThread() throws InterruptedException {
        Throwable[] thrown = new Throwable[1];
        Thread.ofVirtual().start(() -> thrown[0] = catchThrowable(() -> Communicator.group(() -> {
        }))).join();
        assertThrown(IllegalStateException.class, thrown[0], "Communicator.group on a virtual thread");
    }
}
