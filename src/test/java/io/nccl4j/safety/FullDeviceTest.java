package io.nccl4j.safety;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.checks.Condition;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaException;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpSizing;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.Layout;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.CommunicatorOptions;
import io.nccl4j.nccl.CommunicatorRun;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachHighThroughputKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.time.Duration;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/**
 * H1: memory that is not there is an exception, the same on all ranks before something collective, and everything works
 * once there is memory again. The library would end the process.
 */
@EmulatedRanks(2)
class FullDeviceTest {
    private static final long DEVICE_BYTES = 256L << 20;
    private static final int FULL = 1;

    /** Objects that other tests have left on the devices take memory, too. */
    @BeforeEach
    void limitMemory() {
        CudaDevice.of(0).reset();
        CudaDevice.of(FULL).reset();
        Emulator.options().deviceMemory(DEVICE_BYTES);
    }

    /** Takes all but so many bytes of a device. */
    private static DeviceMemory fill(CudaDevice device, long rest) {
        return DeviceMemory.allocate(device, device.memoryInfo().freeBytes() - rest);
    }

    private static @Nullable DeviceMemory fillOneRank(EmulatedRank rank, long rest) {
        return rank.rank() == FULL ? fill(rank.device(), rest) : null;
    }

    @EachLayerKind
    void h1AGroupThatOneDeviceCannotHoldIsRefusedOnAllRanks(LayerKind kind, EmulatedCluster cluster) {
        EpGroupConfig config = kind.config(kind.draw(2, 1));
        long needed = EpSizing.of(config, 2).groupBytes();
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            for (long rest : new long[]{0, 4096, needed}) {
                try (DeviceMemory taken = fillOneRank(rank, rest)) {
                    assertIllegalState(() -> EpGroup.create(communicator, config),
                            "EpGroup.create takes " + needed + " bytes of device memory",
                            "the device of rank 1 has " + rest + " of " + DEVICE_BYTES);
                    assertThat(taken == null).isEqualTo(rank.rank() != FULL);
                }
            }
            rank.bootstrap().barrier();
            EpGroup.create(communicator, config).close();
        });
    }

    @Test
    @EmulatedRanks(1)
    void h1OneRankAsksNobody(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (rank, communicator, unused) -> {
            EpGroupConfig config = LayerKind.HT_FLAT.config(LayerKind.HT_FLAT.draw(1, 1));
            Emulator.logCalls(1 << 15);
            EpGroup.create(communicator, config).close();
            assertThat(Emulator.calls()).isNotEmpty().noneMatch(call -> call.function().equals("ncclAllGather"));
            try (DeviceMemory taken = fill(rank.device(), 4096)) {
                assertThatThrownBy(() -> EpGroup.create(communicator, config)).hasMessageContaining("bytes of")
                        .hasMessageContaining("rank 0 has 4096 of");
                assertThat(taken.byteSize()).isPositive();
            }
        });
    }

    /** The program on the other side may be another library's, which knows nothing of our questions. */
    @EachLayerKind
    void h1MixedRanksAskNobodyAndEachChecksItself(LayerKind kind, EmulatedCluster cluster) {
        EpGroupConfig config = kind.config(kind.draw(2, 1).shape(), 1024);
        cluster.run(rank -> {
            Emulator.logCalls(1 << 15);
            CommunicatorOptions mixed = CommunicatorOptions.defaults().mixed();
            try (Communicator communicator = Communicator.init(rank.bootstrap(), rank.device(), mixed);
                    Communicator split = communicator.split(0, rank.rank())) {
                if (rank.rank() == FULL) {
                    try (DeviceMemory taken = fill(rank.device(), 4096)) {
                        assertIllegalState(() -> EpGroup.create(communicator, config), "bytes of device memory",
                                "the device of rank 1 has 4096 of");
                        assertThat(taken.byteSize()).isPositive();
                    }
                }
                rank.bootstrap().barrier();
                for (Communicator each : new Communicator[]{communicator, split}) {
                    try (EpGroup group = EpGroup.create(each, config);
                            EpHandle handle = group.createHandle();
                            EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(512, DataType.BFLOAT16))) {
                        assertThat(buffers.maxTokens()).isPositive();
                    }
                }
            }
            assertThat(Emulator.calls()).isNotEmpty().noneMatch(call -> call.function().equals("ncclAllGather"));
        });
    }

    @EachLayerKind
    void h1AHandleOnAFullDeviceIsAnException(LayerKind kind, EmulatedCluster cluster) {
        MoeRank.run(cluster, kind, kind.draw(2, 2), (world, layer) -> {
            try (DeviceMemory taken = fill(world.device(), 0)) {
                assertThat(taken.byteSize()).isPositive();
                assertFailure(CudaException.class, () -> world.group().createHandle(), "cudaMalloc");
                assertIllegalState(() -> world.group().createHandle(kind.layout(), layer.buffers().routing(), null,
                        HandleConfig.defaults(), world.stream()), "EpGroup.createHandle takes");
            }
            layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 3));
            world.layer().runAndVerify(world.draw(RoutingKind.UNIFORM, 4));
        });
    }

    /** The memory of a handle is given back with it. */
    @EachLayerKind
    void h1AHandleTakesOneAllocationAndGivesItBack(LayerKind kind, EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (MoeRank world = MoeRank.of(rank, kind, kind.draw(2, 2))) {
                long before = Emulator.usage(rank.device()).deviceAllocations();
                long free = rank.device().memoryInfo().freeBytes();
                try (EpHandle handle = world.group().createHandle()) {
                    assertThat(Emulator.usage(rank.device()).deviceAllocations()).isEqualTo(before + 1);
                    assertThat(handle.isClosed()).isFalse();
                }
                assertThat(Emulator.usage(rank.device()).deviceAllocations()).isEqualTo(before);
                assertThat(rank.device().memoryInfo().freeBytes()).isEqualTo(free);
            }
        });
    }

    @Test
    void h1ABufferThatOneDeviceCannotGrowIsRefusedOnAllRanks(EmulatedCluster cluster) {
        EpCase model = LayerKind.LL_EXPERT_MAJOR.draw(2, 5);
        cluster.run(rank -> {
            try (MoeRank world = MoeRank.of(rank, LayerKind.LL_EXPERT_MAJOR, model, EpGroupConfig::growingRdmaBuffer)) {
                try (DeviceMemory taken = fillOneRank(rank, 4096)) {
                    assertIllegalState(() -> world.group().createHandle(), "EpGroup.createHandle takes",
                            "rank 1 has 4096 of");
                    assertThat(taken == null).isEqualTo(rank.rank() != FULL);
                }
                rank.bootstrap().barrier();
                world.layer().runAndVerify(world.draw(RoutingKind.UNIFORM, 6));
            }
        });
    }

    @EachHighThroughputKind
    void h1BuffersThatOneDeviceCannotHoldAreRefusedOnAllRanks(LayerKind kind, EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (MoeRank world = MoeRank.of(rank, kind, kind.draw(2, 7));
                    EpHandle handle = world.group().createHandle()) {
                try (DeviceMemory taken = fillOneRank(rank, 0)) {
                    assertIllegalState(() -> handle.allocateBuffers(world.rows()), "EpHandle.allocateBuffers takes",
                            "rank 1 has 0 of");
                    assertThat(taken == null).isEqualTo(rank.rank() != FULL);
                }
                rank.bootstrap().barrier();
                handle.allocateBuffers(world.rows()).close();
            }
        });
    }

    /** The library compares nothing but the receive budget, and ends the process if that differs. */
    @Test
    void h1RanksThatAskForDifferentThingsAreAllRefused(EmulatedCluster cluster) {
        EpGroupConfig flat = EpGroupConfig.highThroughput().experts(8).maxTokenBytes(128).layout(Layout.FLAT).topK(2);
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            EpGroupConfig mine = flat.maxTokensPerRank(rank.rank() == 0 ? 8 : 16);
            assertIllegalArgument(() -> EpGroup.create(communicator, mine),
                    "rank 0 asks for HIGH_THROUGHPUT with 8 experts, maxTokensPerRank 8",
                    "rank 1 for HIGH_THROUGHPUT with 8 experts, maxTokensPerRank 16");
            rank.bootstrap().barrier();
            EpGroup.create(communicator, flat.maxTokensPerRank(8)).close();
        });
    }

    @Test
    @EmulatedRanks(value = 2, allowLeaks = true)
    void h1AnExchangeEndsByTheLimitOfItsCommunicator(EmulatedCluster cluster) throws Exception {
        EpGroupConfig config = LayerKind.HT_FLAT.config(LayerKind.HT_FLAT.draw(2, 1));
        try {
            cluster.run(rank -> {
                CommunicatorOptions options = CommunicatorOptions.defaults().limit(Duration.ofMillis(500));
                Communicator communicator = Communicator.init(rank.bootstrap(), rank.device(), options);
                if (rank.rank() == 0) {
                    assertThatThrownBy(() -> EpGroup.create(communicator, config))
                            .isInstanceOf(WaitTimeoutException.class)
                            .hasMessageContaining("the exchange before EpGroup.create")
                            .hasMessageMatching("(?s).* has not returned within \\d{1,3} ms; .*");
                    assertThat(communicator.isUsable()).isFalse();
                }
                rank.bootstrap().barrier();
                // A lost communicator does not wait for what is stuck in it.
                communicator.abandon("the ranks are out of step");
                communicator.close();
                rank.bootstrap().barrier();
            });
        } finally {
            Emulator.breakWaits("the test is over");
            Condition.awaitEndOfCall("the exchange");
            CudaDevice.of(0).reset();
            Emulator.allowWaits();
        }
    }

    /** Bytes that are left to a device that is full of something else. */
    @Test
    @EmulatedRanks(1)
    void h1EverythingThatAllocatesThrowsOnAFullDevice(EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (DeviceMemory taken = fill(rank.device(), 0); CudaStream stream = CudaStream.create(rank.device())) {
                assertThat(taken.byteSize()).isPositive();
                assertFailure(CudaException.class, () -> DeviceMemory.allocate(rank.device(), 1));
                assertFailure(CudaException.class, () -> DeviceMemory.allocateAsync(stream, 1));
                try (Communicator communicator = Communicator.init(rank.bootstrap(), rank.device())) {
                    assertThatThrownBy(() -> communicator.allocate(4096)).hasMessageContaining("ncclMemAlloc");
                }
            }
        });
    }
}
