package io.nccl4j.nccl;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.checks.Condition;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.Gate;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;

@EmulatedRanks(4)
class CommunicatorTest {
    private static final Duration LIMIT = Duration.ofSeconds(20);

    @Test
    void knowsItsPlace(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            assertThat(communicator.rank()).isEqualTo(rank.rank());
            assertThat(communicator.size()).isEqualTo(4);
            assertThat(communicator.device()).isSameAs(rank.device());
            assertThat(communicator.isUsable()).isTrue();
            assertThat(communicator.lost()).isNull();
            assertThat(communicator.asyncError()).isEqualTo(NcclResult.SUCCESS);
            assertThat(communicator).asString().contains("rank " + rank.rank() + " of 4 on CUDA device " + rank.rank());
        });
    }

    @Test
    void splitsByColorAndOrdersByKey(EmulatedCluster cluster) {
        List<String> places = cluster.call(rank -> {
            try (Communicator all = Communicator.init(rank.bootstrap(), rank.device());
                    Communicator part = all.split(rank.rank() == 0 ? Communicator.NO_COLOR : rank.rank() % 2,
                            -rank.rank())) {
                return part == null ? "none" : part.rank() + "/" + part.size();
            }
        });
        assertThat(places).containsExactly("none", "1/2", "0/1", "0/2");
    }

    @Test
    void aPartOutlivesTheWhole(EmulatedCluster cluster) {
        cluster.run(rank -> {
            Communicator all = Communicator.init(rank.bootstrap(), rank.device());
            try (Communicator part = all.split(0, 0); CudaStream stream = CudaStream.create(rank.device())) {
                all.close();
                try (DeviceMemory buffer = DeviceArrays.ints(rank.device(), rank.rank())) {
                    part.collectives().allReduce(buffer, buffer, 1, DataType.INT32, ReduceOp.SUM, stream);
                    stream.await(LIMIT);
                    assertThat(DeviceArrays.ints(buffer)).containsExactly(6);
                }
            }
        });
    }

    @Test
    void colorsBelowMinusOneAreRefused(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            assertIllegalArgument(() -> communicator.split(-2, 0), "color is -2");
        });
    }

    @Test
    void twoRanksOnOneDeviceAreRefusedOnAll() {
        EmulatedCluster.of(2).limit(Duration.ofSeconds(30))
                .run(rank -> assertFailure(NcclException.class,
                        () -> Communicator.init(rank.bootstrap(), CudaDevice.of(0)), "ncclInvalidUsage",
                        "ncclCommInitRankScalable"));
    }

    @Test
    void aBorrowedOneIsNeverDestroyed(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (rank, owner, stream) -> {
            try (DeviceMemory buffer = DeviceArrays.ints(rank.device(), 1)) {
                try (Communicator borrowed = Communicator.borrow(owner.address(), rank.device())) {
                    assertThat(borrowed.rank()).isEqualTo(rank.rank());
                    assertThat(borrowed.size()).isEqualTo(4);
                    assertThat(borrowed.isOwned()).isFalse();
                    borrowed.collectives().allReduce(buffer, buffer, 1, DataType.INT32, ReduceOp.SUM, stream);
                    stream.await(LIMIT);
                    assertIllegalState(borrowed::abort, "is borrowed");
                }
                owner.collectives().allReduce(buffer, buffer, 1, DataType.INT32, ReduceOp.SUM, stream);
                stream.await(LIMIT);
                assertThat(DeviceArrays.ints(buffer)).containsExactly(16);
                CudaDevice wrong = CudaDevice.of((rank.rank() + 1) % 4);
                assertIllegalArgument(() -> Communicator.borrow(owner.address(), wrong),
                        "is of CUDA device " + rank.rank());
            }
        });
        assertIllegalArgument(() -> Communicator.borrow(0, CudaDevice.of(0)), "NULL");
    }

    @Test
    @EmulatedRanks(value = 2, allowLeaks = true)
    void anAbortedOneIsLeftAlone(EmulatedCluster cluster) {
        long deregistered = Emulator.callCount("ncclCommWindowDeregister");
        long destroyed = Emulator.callCount("ncclCommDestroy");
        long freed = Emulator.callCount("ncclMemFree");
        long aborted = Emulator.callCount("ncclCommAbort");
        cluster.run(rank -> {
            Communicator communicator = Communicator.init(rank.bootstrap(), rank.device());
            DeviceMemory memory = communicator.allocate(4096);
            Window window = communicator.register(memory);
            communicator.abort();
            communicator.abort();
            assertThat(communicator.isUsable()).isFalse();
            assertThat(communicator.lost()).isEqualTo("it was aborted");
            assertThat(communicator).asString().endsWith("(lost)");
            assertIllegalState(() -> communicator.split(0, 0), "it was aborted");
            assertIllegalState(communicator::asyncError, "it was aborted");
            assertIllegalState(communicator::close, "in use by Window#");
            window.close();
            memory.close();
            communicator.close();
        });
        assertThat(Emulator.callCount("ncclCommWindowDeregister")).isEqualTo(deregistered);
        assertThat(Emulator.callCount("ncclCommDestroy")).isEqualTo(destroyed);
        assertThat(Emulator.callCount("ncclMemFree")).isEqualTo(freed);
        assertThat(Emulator.callCount("ncclCommAbort")).isEqualTo(aborted + 2);
    }

    @Test
    @EmulatedRanks(value = 2, allowLeaks = true)
    void anAbandonedOneIsNotTouched(EmulatedCluster cluster) {
        long destroyed = Emulator.callCount("ncclCommDestroy");
        cluster.run(rank -> {
            Communicator communicator = Communicator.init(rank.bootstrap(), rank.device());
            communicator.abandon("its owner has aborted it");
            assertIllegalState(communicator::checkUsable, "its owner has aborted it");
            communicator.close();
        });
        assertThat(Emulator.callCount("ncclCommDestroy")).isEqualTo(destroyed);
    }

    @Test
    @EmulatedRanks(value = 2, allowLeaks = true)
    void anErrorInTheBackgroundEndsItsUse(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            try (DeviceMemory buffer = DeviceMemory.allocate(rank.device(), 4)) {
                rank.bootstrap().barrier();
                if (rank.rank() == 0) {
                    communicator.abort();
                }
                rank.bootstrap().barrier();
                if (rank.rank() == 1) {
                    communicator.collectives().allReduce(buffer, buffer, 1, DataType.INT32, ReduceOp.SUM, stream);
                    Condition.await("NCCL reports that the other rank has gone",
                            () -> communicator.asyncError().isError());
                    assertThat(communicator.isUsable()).isFalse();
                    assertThatThrownBy(() -> communicator.split(0, 0)).isInstanceOf(NcclException.class)
                            .hasMessageContaining("has failed before").hasCauseInstanceOf(NcclException.class);
                    communicator.abort();
                }
            }
        });
    }

    @Test
    void aMissingRankEndsCreationAtItsLimit() throws InterruptedException {
        UniqueId id = UniqueId.create();
        CommunicatorOptions options = CommunicatorOptions.defaults().limit(Duration.ofMillis(200));
        try {
            assertFailure(WaitTimeoutException.class, () -> Communicator.init(id, 0, 2, CudaDevice.of(0), options),
                    "ncclCommInitRankScalable of rank 0 of 2 has not returned within 200 ms");
        } finally {
            Emulator.breakWaits("the test is over");
            Condition.awaitEndOfCall("ncclCommInitRankScalable");
            Emulator.allowWaits();
        }
    }

    @Test
    void anAbortIsRefusedWhileACollectiveCallIsUnderWay(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            CountDownLatch inside = new CountDownLatch(1);
            Gate gate = new Gate();
            assertFailure(WaitTimeoutException.class,
                    () -> communicator.callCollectively("ncclEpGroupDestroy", Duration.ofMillis(50), () -> {
                        inside.countDown();
                        gate.await();
                        return CudaDevice.current();
                    }), "ncclEpGroupDestroy on Communicator#");
            inside.await();
            assertIllegalState(communicator::abort, "[ncclEpGroupDestroy] is under way");
            assertIllegalState(() -> communicator.split(0, 0),
                    "cannot be used: ncclEpGroupDestroy has not returned in time");
            gate.open();
            // It has returned, so nothing is in the way of an abort any more.
            Condition.awaitEndOfCall("ncclEpGroupDestroy");
            communicator.abort();
        });
    }

    @Test
    void aCollectiveCallRunsWithTheDeviceCurrent(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            assertThat(communicator.<CudaDevice>callCollectively("probe", LIMIT, CudaDevice::current))
                    .isSameAs(rank.device());
        });
    }

    @Test
    void anExceptionOfACollectiveCallShowsItsCaller(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            assertThatThrownBy(() -> communicator.callCollectively("probe", LIMIT, () -> {
                throw new UnsupportedOperationException("inside");
            })).isInstanceOf(UnsupportedOperationException.class).hasMessage("inside")
                    .satisfies(e -> assertThat(e.getStackTrace())
                            .anyMatch(frame -> frame.getMethodName().startsWith("callCollectively")));
        });
    }

    @Test
    void nativeErrorsCarryFunctionCodeAndText(EmulatedCluster cluster) {
        Emulator.presetResult("ncclAllReduce", 4, 0, 4);
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            try (DeviceMemory buffer = DeviceMemory.allocate(rank.device(), 4)) {
                assertThatThrownBy(() -> communicator.collectives().allReduce(buffer, buffer, 1, DataType.INT32,
                        ReduceOp.SUM, stream)).isInstanceOfSatisfying(NcclException.class, e -> {
                            assertThat(e.function()).isEqualTo("ncclAllReduce");
                            assertThat(e.code()).isEqualTo(4);
                            assertThat(e.result()).isEqualTo(NcclResult.INVALID_ARGUMENT);
                            assertThat(e).hasMessageContaining("ncclAllReduce on Communicator#")
                                    .hasMessageContaining("ncclInvalidArgument (4): invalid argument");
                        });
                // The caller's mistake is not the end of the communicator.
                assertThat(communicator.isUsable()).isTrue();
            }
        });
    }

    @Test
    void ranksOutOfRangeAreRefused() {
        UniqueId id = UniqueId.create();
        assertIllegalArgument(() -> Communicator.init(id, 2, 2, CudaDevice.of(0)), "rank 2 of 2");
        assertIllegalArgument(() -> Communicator.init(id, -1, 2, CudaDevice.of(0)));
        assertIllegalArgument(() -> Communicator.init(id, 0, 0, CudaDevice.of(0)));
    }
}
