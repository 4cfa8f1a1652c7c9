package io.nccl4j.nccl;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.junit.EmulatedRanks;
import java.time.Duration;
import org.junit.jupiter.api.Test;

@EmulatedRanks(4)
class CollectivesTest {
    private static final Duration LIMIT = Duration.ofSeconds(20);

    /** A rank with what every test here needs. */
    @FunctionalInterface
    private interface Body {
        void run(Communicator communicator, CudaStream stream, int rank) throws Exception;
    }

    private static void run(EmulatedCluster cluster, Body body) {
        cluster.run((EmulatedRank rank) -> {
            try (Communicator communicator = Communicator.init(rank.bootstrap(), rank.device());
                    CudaStream stream = CudaStream.create(rank.device())) {
                body.run(communicator, stream, rank.rank());
            }
        });
    }

    @Test
    void allGatherCollectsByRank(EmulatedCluster cluster) {
        run(cluster, (communicator, stream, rank) -> {
            try (DeviceMemory send = DeviceArrays.ints(communicator.device(), rank, rank * 10);
                    DeviceMemory receive = DeviceArrays.ints(communicator.device(), new int[8])) {
                communicator.collectives().allGather(send, receive, 2, DataType.INT32, stream);
                stream.await(LIMIT);
                assertThat(DeviceArrays.ints(receive)).containsExactly(0, 0, 1, 10, 2, 20, 3, 30);
            }
        });
    }

    @Test
    void allGatherHonoursOffsets(EmulatedCluster cluster) {
        run(cluster, (communicator, stream, rank) -> {
            try (DeviceMemory send = DeviceArrays.ints(communicator.device(), -1, -1, rank + 1);
                    DeviceMemory receive = DeviceArrays.ints(communicator.device(), -7, 0, 0, 0, 0, -7)) {
                communicator.collectives().allGather(send, 8, receive, 4, 1, DataType.INT32, stream);
                stream.await(LIMIT);
                assertThat(DeviceArrays.ints(receive)).containsExactly(-7, 1, 2, 3, 4, -7);
            }
        });
    }

    @Test
    void allReduceHasFiveOperations(EmulatedCluster cluster) {
        run(cluster, (communicator, stream, rank) -> {
            assertThat(reduced(communicator, stream, ReduceOp.SUM, rank + 1f)).isEqualTo(10f);
            assertThat(reduced(communicator, stream, ReduceOp.PRODUCT, rank + 1f)).isEqualTo(24f);
            assertThat(reduced(communicator, stream, ReduceOp.MAX, rank + 1f)).isEqualTo(4f);
            assertThat(reduced(communicator, stream, ReduceOp.MIN, rank + 1f)).isEqualTo(1f);
            assertThat(reduced(communicator, stream, ReduceOp.AVERAGE, rank + 1f)).isEqualTo(2.5f);
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
        run(cluster, (communicator, stream, rank) -> {
            try (DeviceMemory buffer = DeviceArrays.ints(communicator.device(), rank, rank + 100)) {
                communicator.collectives().broadcast(buffer, 2, DataType.INT32, 2, stream);
                stream.await(LIMIT);
                assertThat(DeviceArrays.ints(buffer)).containsExactly(2, 102);
            }
        });
    }

    @Test
    void reduceGivesToTheRootOnly(EmulatedCluster cluster) {
        run(cluster, (communicator, stream, rank) -> {
            try (DeviceMemory send = DeviceArrays.ints(communicator.device(), 1 << rank);
                    DeviceMemory receive = DeviceArrays.ints(communicator.device(), -1)) {
                communicator.collectives().reduce(send, receive, 1, DataType.INT32, ReduceOp.SUM, 3, stream);
                stream.await(LIMIT);
                assertThat(DeviceArrays.ints(receive)).containsExactly(rank == 3 ? 15 : -1);
            }
        });
    }

    @Test
    void reduceNeedsNoReceiveBufferElsewhere(EmulatedCluster cluster) {
        run(cluster, (communicator, stream, rank) -> {
            try (DeviceMemory small = DeviceArrays.ints(communicator.device(), 7);
                    DeviceMemory send = DeviceArrays.ints(communicator.device(), rank, rank)) {
                communicator.collectives().reduce(send, rank == 0 ? send : small, 2, DataType.INT32, ReduceOp.MAX, 0,
                        stream);
                stream.await(LIMIT);
                assertThat(DeviceArrays.ints(small)).containsExactly(7);
                assertThat(DeviceArrays.ints(send)).containsExactly(rank == 0 ? 3 : rank, rank == 0 ? 3 : rank);
            }
        });
    }

    @Test
    void reduceScatterGivesEachRankItsPart(EmulatedCluster cluster) {
        run(cluster, (communicator, stream, rank) -> {
            try (DeviceMemory send = DeviceArrays.ints(communicator.device(), rank, 10 + rank, 20 + rank, 30 + rank);
                    DeviceMemory receive = DeviceArrays.ints(communicator.device(), 0)) {
                communicator.collectives().reduceScatter(send, receive, 1, DataType.INT32, ReduceOp.SUM, stream);
                stream.await(LIMIT);
                assertThat(DeviceArrays.ints(receive)).containsExactly(6 + 40 * rank);
            }
        });
    }

    @Test
    void allToAllTransposes(EmulatedCluster cluster) {
        run(cluster, (communicator, stream, rank) -> {
            try (DeviceMemory send = DeviceArrays.ints(communicator.device(), rank * 10, rank * 10 + 1, rank * 10 + 2,
                    rank * 10 + 3); DeviceMemory receive = DeviceArrays.ints(communicator.device(), new int[4])) {
                communicator.collectives().allToAll(send, receive, 1, DataType.INT32, stream);
                stream.await(LIMIT);
                assertThat(DeviceArrays.ints(receive)).containsExactly(rank, 10 + rank, 20 + rank, 30 + rank);
            }
        });
    }

    @Test
    void aRingOfSendsAndReceivesIsOneGroup(EmulatedCluster cluster) {
        run(cluster, (communicator, stream, rank) -> {
            int next = (rank + 1) % 4;
            int before = (rank + 3) % 4;
            try (DeviceMemory buffer = DeviceArrays.ints(communicator.device(), rank, -1)) {
                Communicator.group(() -> {
                    communicator.collectives().send(buffer, 0, 1, DataType.INT32, next, stream);
                    communicator.collectives().receive(buffer, 4, 1, DataType.INT32, before, stream);
                });
                stream.await(LIMIT);
                assertThat(DeviceArrays.ints(buffer)).containsExactly(rank, before);
            }
        });
    }

    @Test
    void aCapturedCollectiveReadsNewDataAtEachReplay(EmulatedCluster cluster) {
        run(cluster, (communicator, stream, rank) -> {
            CudaDevice device = communicator.device();
            try (DeviceMemory buffer = DeviceMemory.allocate(device, 4);
                    CudaGraph graph = stream.capture(() -> communicator.collectives().allReduce(buffer, buffer, 1,
                            DataType.INT32, ReduceOp.SUM, stream));
                    CudaGraphExec step = graph.instantiate()) {
                for (int replay = 1; replay <= 3; replay++) {
                    try (DeviceMemory fresh = DeviceArrays.ints(device, replay * (rank + 1))) {
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
        run(cluster, (communicator, stream, rank) -> {
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
        run(cluster, (communicator, stream, rank) -> {
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
        run(cluster, (communicator, stream, rank) -> Communicator.group(() -> {
            assertIllegalState(() -> communicator.split(0, 0), "cannot be part of a group");
            assertIllegalState(communicator::close, "cannot be part of a group");
        }));
    }

    @Test
    void anExceptionInAGroupLeavesTheThreadOutsideOfIt(EmulatedCluster cluster) {
        run(cluster, (communicator, stream, rank) -> {
            assertFailure(UnsupportedOperationException.class, () -> Communicator.group(() -> {
                throw new UnsupportedOperationException("no such expert");
            }));
            assertThat(reduced(communicator, stream, ReduceOp.MAX, rank)).isEqualTo(3f);
        });
    }

    @Test
    void h4AGroupNeedsAPlatformThread() throws InterruptedException {
        Throwable[] thrown = new Throwable[1];
        Thread.ofVirtual().start(() -> thrown[0] = catchThrowable(() -> Communicator.group(() -> {
        }))).join();
        assertThat(thrown[0]).isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("Communicator.group on a virtual thread");
    }
}
