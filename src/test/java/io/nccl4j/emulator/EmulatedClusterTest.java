package io.nccl4j.emulator;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.ReduceOp;
import io.nccl4j.nccl.UniqueId;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@EmulatedRanks
@Timeout(120)
class EmulatedClusterTest {
    @Test
    void everyRankHasItsThreadDeviceAndBootstrap() {
        Set<Thread> threads = ConcurrentHashMap.newKeySet();
        EmulatedCluster cluster = EmulatedCluster.of(5);
        assertThat(cluster.call(rank -> {
            threads.add(Thread.currentThread());
            assertThat(Thread.currentThread().isVirtual()).isFalse();
            assertThat(CudaDevice.current()).isSameAs(rank.device());
            assertThat(rank.device().ordinal()).isEqualTo(rank.rank());
            assertThat(rank.bootstrap().rank()).isEqualTo(rank.rank());
            assertThat(rank.bootstrap().size()).isEqualTo(5);
            return rank.toString() + ", sum " + rank.bootstrap().allGather(new byte[rank.rank()])[4].length;
        })).containsExactly("rank 0 of 5, sum 4", "rank 1 of 5, sum 4", "rank 2 of 5, sum 4", "rank 3 of 5, sum 4",
                "rank 4 of 5, sum 4");
        assertThat(threads).hasSize(5).noneMatch(Thread::isAlive);
        assertThat(cluster.size()).isEqualTo(5);
    }

    @Test
    void failuresAreCollectedByRank() {
        EmulatedClusterException e = catchThrowableOfType(EmulatedClusterException.class,
                () -> EmulatedCluster.run(4, rank -> {
                    if (rank.rank() % 2 == 1) {
                        throw new java.io.IOException("of rank " + rank.rank());
                    }
                }));
        assertThat(e).hasMessageStartingWith("2 of 4 ranks failed; rank ")
                .hasMessageContaining("rank 1: java.io.IOException: of rank 1")
                .hasMessageContaining("rank 3: java.io.IOException");
        assertThat(e.failures()).containsOnlyKeys(1, 3);
        assertThat(e.getCause()).isIn(e.failures().values());
        assertThat(e.getSuppressed()).hasSize(1);
    }

    @Test
    void assertionsFailTheRun() {
        assertThatThrownBy(() -> EmulatedCluster.run(2, rank -> assertThat(rank.rank()).isZero()))
                .isInstanceOf(EmulatedClusterException.class).hasMessageContaining("1 of 2 ranks failed; rank 1: ")
                .hasCauseInstanceOf(AssertionError.class);
    }

    @Test
    void whoWaitsForAFailedRankAtTheBootstrapHearsOfIt() {
        EmulatedClusterException e = catchThrowableOfType(EmulatedClusterException.class,
                () -> EmulatedCluster.run(3, rank -> {
                    if (rank.rank() == 2) {
                        throw new UnsupportedOperationException("no such expert");
                    }
                    rank.bootstrap().barrier();
                }));
        assertThat(e.getCause()).isInstanceOf(UnsupportedOperationException.class);
        assertThat(e.failures().get(0))
                .hasMessageContaining("rank 2 has failed: java.lang.UnsupportedOperationException: no such expert");
    }

    @Test
    @EmulatedRanks(allowLeaks = true)
    void aFailureEndsTheNativeWaitsOfTheOthers() {
        UniqueId id = UniqueId.create();
        EmulatedClusterException e = catchThrowableOfType(EmulatedClusterException.class,
                () -> EmulatedCluster.of(3).limit(Duration.ofSeconds(100)).run(rank -> {
                    if (rank.rank() == 1) {
                        throw new UnsupportedOperationException("no such expert");
                    }
                    Communicator.init(id, rank.rank(), 3, rank.device()).close();
                }));
        assertThat(e.getCause()).isInstanceOf(UnsupportedOperationException.class);
        assertThat(e.failures()).containsOnlyKeys(0, 1, 2);
        assertThat(e.failures().get(0)).hasMessage("rank 0 was here when another rank has failed");
        assertThat(e.failures().get(0).getStackTrace()).anyMatch(frame -> frame.getMethodName().equals("init"));
        assertThat(e).hasMessageNotContaining("did not end");
    }

    @Test
    @EmulatedRanks(allowLeaks = true)
    void theLimitEndsNativeWaitsAndShowsWhereRanksWere() {
        CountDownLatch never = new CountDownLatch(1);
        EmulatedClusterException e = catchThrowableOfType(EmulatedClusterException.class,
                () -> EmulatedCluster.of(2).limit(Duration.ofMillis(700)).run(rank -> {
                    try (Communicator communicator = Communicator.init(rank.bootstrap(), rank.device());
                            CudaStream stream = CudaStream.create(rank.device());
                            DeviceMemory buffer = DeviceMemory.allocate(rank.device(), 4)) {
                        if (rank.rank() == 0) {
                            communicator.collectives().allReduce(buffer, buffer, 1, DataType.INT32, ReduceOp.SUM,
                                    stream);
                            stream.synchronize();
                        } else {
                            never.await();
                        }
                    }
                }));
        assertThat(e.failures()).containsOnlyKeys(0, 1);
        assertThat(e.failures().get(0)).hasMessage("rank 0 was here when the time limit of 700 ms was reached");
        assertThat(e.failures().get(0).getStackTrace()).anyMatch(frame -> frame.getMethodName().equals("synchronize"));
        // Waits work again afterwards.
        EmulatedCluster.of(4).allowLeaks().run(rank -> rank.bootstrap().barrier());
    }

    @Test
    void theLimitEndsWaitsInJavaByAnInterrupt() {
        CountDownLatch never = new CountDownLatch(1);
        EmulatedClusterException e = catchThrowableOfType(EmulatedClusterException.class,
                () -> EmulatedCluster.of(2).limit(Duration.ofMillis(300)).run(rank -> {
                    if (rank.rank() == 1) {
                        never.await();
                    }
                }));
        assertThat(e.failures()).containsOnlyKeys(1);
        assertThat(e).hasMessageContaining("time limit of 300 ms").hasMessageNotContaining("did not end");
    }

    @Test
    void whatIsLeftAliveIsReported() {
        ConcurrentHashMap<Integer, AutoCloseable> left = new ConcurrentHashMap<>();
        assertThatThrownBy(() -> EmulatedCluster.run(2, rank -> {
            left.put(rank.rank(), CudaStream.create(rank.device()));
            left.put(rank.rank() + 2, DeviceMemory.allocate(rank.device(), 100));
        })).isInstanceOf(EmulatedClusterException.class)
                .hasMessageMatching("the ranks left alive: 2 device allocations \\(\\d+ bytes\\), 2 streams");
        EmulatedCluster.of(1).allowLeaks().run(rank -> left.put(9, CudaStream.create(rank.device())));
        left.values().forEach(resource -> {
            try {
                resource.close();
            } catch (Exception e) {
                throw new AssertionError(e);
            }
        });
    }

    @Test
    void moreRanksThanDevicesNeedSharedDevices() {
        int size = CudaDevice.count() + 1;
        assertIllegalArgument(() -> EmulatedCluster.run(size, rank -> {
        }), "a cluster of " + size + " ranks needs as many devices");
        Emulator.options().sharedDevices(true);
        assertThat(EmulatedCluster.of(size).call(rank -> rank.device().ordinal())).hasSize(size).endsWith(size - 2, 0);
    }

    @Test
    void anInterruptOfTheCallerEndsTheRun() throws Exception {
        CountDownLatch started = new CountDownLatch(2);
        CountDownLatch never = new CountDownLatch(1);
        Throwable[] thrown = new Throwable[1];
        Thread caller = Thread.ofPlatform().start(() -> {
            try {
                EmulatedCluster.run(2, rank -> {
                    started.countDown();
                    never.await();
                });
            } catch (EmulatedClusterException e) {
                thrown[0] = Thread.currentThread().isInterrupted() ? e : null;
            }
        });
        started.await();
        caller.interrupt();
        caller.join(60_000);
        assertThat(thrown[0]).isInstanceOf(EmulatedClusterException.class);
    }

    @Test
    void sizesAndLimitsAreChecked() {
        assertIllegalArgument(() -> EmulatedCluster.of(0));
        assertIllegalArgument(() -> EmulatedCluster.of(1).limit(Duration.ZERO));
    }
}
