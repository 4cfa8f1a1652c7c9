package io.nccl4j.safety;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static io.nccl4j.checks.Refusals.assertThrown;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpSizing;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.ep.RankMask;
import io.nccl4j.ep.graph.GraphCache;
import io.nccl4j.ep.graph.GraphKey;
import io.nccl4j.ep.graph.GraphStep;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.Window;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachHighThroughputKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.HostMirror;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Failure modes of ranks, groups, handles and memory that share something, numbered as in docs/failure-modes.md. */
@EmulatedRanks(SharingFailureModesTest.RANKS)
class SharingFailureModesTest {
    static final int RANKS = 2;

    @Test
    void f04AGroupHasSeveralHandlesAtATime(EmulatedCluster cluster) {
        EpCase model = LayerKind.LL_RANK_MAJOR.draw(RANKS, 201);
        MoeRank.run(cluster, LayerKind.LL_RANK_MAJOR, model, (world, first) -> {
            MoeLayer second = world.layer();
            second.runAndVerify(model.redraw(RoutingKind.UNIFORM, 202));
            first.runAndVerify(model.redraw(RoutingKind.UNIFORM, 203));
        });
    }

    @EachLayerKind
    void f08TeardownInAnyOrderEndsInTheOnlyRightOne(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 204), (world, layer) -> {
            layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 205));
            world.bootstrap().barrier();
            long natives = Emulator.callCount("ncclCommDestroy") + Emulator.callCount("ncclEpGroupDestroy")
                    + Emulator.callCount("ncclEpHandleDestroy");
            world.bootstrap().barrier();
            assertIllegalState(world.communicator()::close);
            assertIllegalState(world.group()::close);
            assertIllegalState(layer.handle()::close);
            world.bootstrap().barrier();
            assertThat(Emulator.callCount("ncclCommDestroy") + Emulator.callCount("ncclEpGroupDestroy")
                    + Emulator.callCount("ncclEpHandleDestroy")).isEqualTo(natives);
            world.bootstrap().barrier();
        });
    }

    @EachLayerKind
    void f09RanksThatDivergeAtCaptureAreNamedAndIdleRanksTakePart(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 206), (world, layer) -> {
            GraphStep step = (key, stream) -> layer.enqueue(key.tokens());
            try (GraphCache cache = GraphCache.create(world.bootstrap(), world.stream(), step)) {
                GraphKey key = GraphKey.of(layer.buffers().maxTokens(), shape.layout());
                assertIllegalState(() -> cache.capture(world.rank() == 0 ? key : key.withTokens(1)), "do not agree",
                        "rank 0", "rank 1");
                if (world.rank() == 0) {
                    assertIllegalState(() -> cache.capture(key), "rank 1 is in another call");
                } else {
                    world.bootstrap().allGather(new byte[]{1, 2, 3});
                }
                cache.capture(key);
                for (int turn = 0; turn < 4; turn++) {
                    EpCase batch = world.draw(RoutingKind.HOLES, 207 + turn);
                    layer.load(batch);
                    // A rank replays, another runs eagerly; one without tokens runs all the same.
                    if ((turn + world.rank()) % 2 == 0) {
                        cache.find(key, layer.count(batch)).launch(world.stream());
                    } else {
                        layer.enqueue(layer.count(batch));
                    }
                    world.await();
                    layer.verify(batch);
                }
            }
        });
    }

    @Test
    void f10MasksAreTypedAndRefusedWhereThereAreNone(EmulatedCluster cluster) {
        LayerKind shape = LayerKind.LL_EXPERT_MAJOR;
        cluster.run(rank -> {
            try (MoeRank world = MoeRank.of(rank, shape, shape.draw(RANKS, 211), EpGroupConfig::mask)) {
                MoeLayer layer = world.layer();
                EpTensor device = EpTensor.of(world.own(DeviceMemory.allocate(rank.device(), 64)), DataType.INT32,
                        RANKS);
                world.group().maskQuery(device, world.stream());
                world.await();
                assertThat(HostMirror.ints(device)).containsOnly(1);
                assertThat(world.group().maskQuery(world.stream())).isEqualTo(RankMask.all(RANKS));
                assertIllegalArgument(() -> world.group().maskUpdate(RankMask.all(RANKS + 1), world.stream()),
                        "the group has 2 ranks");
                assertIllegalState(
                        () -> world.stream()
                                .capture(() -> world.group().maskUpdate(RankMask.all(RANKS), world.stream())),
                        "cannot be captured");
                assertIllegalState(() -> world.stream().capture(() -> world.group().maskClean(world.stream())),
                        "cannot be captured");
                layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 212));
            }
            try (MoeRank world = MoeRank.of(rank, LayerKind.HT_FLAT, LayerKind.HT_FLAT.draw(RANKS, 213))) {
                assertIllegalState(() -> world.group().maskQuery(world.stream()),
                        "a high-throughput group waits for all ranks");
            }
        });
    }

    @Test
    void f12CapacityIsMandatoryAndFixed() {
        assertIllegalArgument(
                () -> EpSizing.of(EpGroupConfig.lowLatency().experts(8).maxTokenBytes(1024).topK(2), RANKS),
                "maxTokensPerRank");
        assertIllegalArgument(() -> EpSizing.of(EpGroupConfig.highThroughput().maxTokensPerRank(8).experts(8), RANKS),
                "maxTokenBytes");
    }

    @EachLayerKind
    void f12MoreTokensThanTheGroupWasMadeForAreRefused(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 214), (world, layer) -> {
            int most = layer.buffers().maxTokens();
            DeviceMemory large = world
                    .own(DeviceMemory.allocate(world.device(), 8L * (most + 1) * layer.handle().topK()));
            EpTensor routing = EpTensor.of(large, DataType.INT64, most + 1, layer.handle().topK());
            assertIllegalArgument(() -> layer.handle().update(routing, world.stream()), (most + 1) + " tokens",
                    "at most " + most);
            layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 215));
        });
    }

    @Test
    void f14AWindowKnowsItsBounds(EmulatedCluster cluster) {
        MoeRank.run(cluster, LayerKind.HT_FLAT, LayerKind.HT_FLAT.draw(RANKS, 216), (world, unused) -> {
            DeviceMemory memory = world.own(world.communicator().allocate(8192));
            Window window = world.own(world.communicator().register(memory));
            long[][] outside = {{0, 8193}, {8192, 1}, {-1, 4}, {4096, 4097}, {1, Long.MAX_VALUE}, {0, 0},
                    {Long.MAX_VALUE, 1}};
            for (long[] range : outside) {
                assertIllegalArgument(() -> window.slice(range[0], range[1]), "is outside of", "8192 bytes");
            }
            assertIllegalArgument(() -> window.slice(4096, 64).slice(32, 33));
            assertIllegalArgument(() -> EpTensor.inWindow(window.slice(4096, 64), DataType.INT32, 17), "68 bytes");
            assertThat(EpTensor.inWindow(window.slice(4096, 64).slice(32, 32), DataType.INT32, 8).address())
                    .isEqualTo(memory.address() + 4096 + 32);
        });
    }

    @EachLayerKind
    void f17AnotherThreadsCurrentDeviceIsNoConcern(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 217), (world, layer) -> {
            try (var other = Executors.newSingleThreadExecutor()) {
                EpCase batch = world.draw(RoutingKind.UNIFORM, 218);
                CudaDevice wrong = CudaDevice.of(RANKS + world.rank());
                Throwable refused = other.submit(() -> {
                    wrong.makeCurrent();
                    return catchThrowable(() -> layer.enqueue(0));
                }).get(20, TimeUnit.SECONDS);
                assertThrown(IllegalStateException.class, refused, "bindToCurrentThread");
                Thread carrier = Thread.ofVirtual()
                        .unstarted(() -> assertIllegalState(world.group()::bindToCurrentThread, "platform thread"));
                carrier.start();
                carrier.join();
                // Handed over in the right way, the other thread has the group's device.
                other.submit(() -> {
                    world.group().bindToCurrentThread();
                    world.stream().bindToCurrentThread();
                    assertThat(CudaDevice.current()).isEqualTo(world.device());
                    layer.runAndVerify(batch);
                }).get(30, TimeUnit.SECONDS);
                world.group().bindToCurrentThread();
                world.stream().bindToCurrentThread();
                layer.runAndVerify(batch);
            }
        });
    }

    /** The library launches on the current device of the thread, whatever device that is. */
    @EachLayerKind
    void f17WhileAnotherDeviceIsCurrentTheGroupIsNotUsed(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 227), EpGroupConfig::checked, (world, layer) -> {
            EpHandle spare = world.own(world.group().createHandle());
            CudaDevice wrong = CudaDevice.of(RANKS + world.rank());
            EpCase batch = world.draw(RoutingKind.UNIFORM, 228);
            layer.runAndVerify(batch);
            List<Runnable> uses = List.of(() -> layer.enqueue(1),
                    () -> layer.handle().update(layer.buffers().routing(), world.stream()), world.group()::createHandle,
                    spare::close, world.group()::close);
            for (Runnable use : uses) {
                wrong.makeCurrent();
                assertIllegalState(use::run, "another device than " + world.device());
                assertThat(CudaDevice.current()).isEqualTo(wrong);
                world.device().makeCurrent();
                wrong.run(() -> assertIllegalState(use::run, "another device than " + world.device()));
            }
            layer.runAndVerify(batch);
            wrong.makeCurrent();
            world.group().bindToCurrentThread();
            layer.runAndVerify(batch);
            // Behind the back of nccl4j: only the checked mode sees it.
            CudaRuntime.cudaSetDevice(wrong.ordinal());
            assertIllegalState(() -> layer.enqueue(1), "something outside of nccl4j");
            world.device().makeCurrent();
            layer.runAndVerify(batch);
        });
    }

    /** With NCCL EP every update names its own counters, so that handles with and without them go together. */
    @EachHighThroughputKind
    void f19HandlesWithAndWithoutCountersShareAGroup(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 219), (world, counted) -> {
            MoeLayer uncounted = world.layer();
            for (int turn = 0; turn < 4; turn++) {
                EpCase batch = world.draw(RoutingKind.UNIFORM, 221 + turn);
                uncounted.load(batch);
                uncounted.handle().update(TensorRows.of(uncounted.buffers().routing(), uncounted.count(batch)), null,
                        world.stream());
                world.await();
                counted.runAndVerify(batch);
                uncounted.runAndVerify(batch);
            }
            assertIllegalArgument(() -> counted.handle().update(counted.buffers().routing(),
                    LayoutInfo.of(counted.buffers().receivedTotal()), world.stream()), "expertCounters");
        });
    }

    @Test
    void f23ABorrowedCommunicatorIsNeverDestroyedHere(EmulatedCluster cluster) {
        LayerKind shape = LayerKind.HT_FLAT;
        cluster.run(rank -> {
            EpCase model = shape.draw(RANKS, 225);
            try (Communicator owner = Communicator.init(rank.bootstrap(), rank.device())) {
                Communicator borrowed = Communicator.borrow(owner.address(), rank.device());
                assertThat(borrowed.rank()).isEqualTo(rank.rank());
                EpGroup group = EpGroup.create(borrowed, shape.config(model));
                assertIllegalState(borrowed::abort, "is borrowed");
                assertIllegalState(borrowed::close);
                assertIllegalArgument(() -> Communicator.borrow(owner.address(), CudaDevice.of(RANKS + rank.rank())),
                        "is of CUDA device");
                group.close();
                rank.bootstrap().barrier();
                long destroyed = Emulator.callCount("ncclCommDestroy");
                rank.bootstrap().barrier();
                borrowed.close();
                rank.bootstrap().barrier();
                assertThat(Emulator.callCount("ncclCommDestroy")).isEqualTo(destroyed);
                assertThat(owner.isUsable()).isTrue();
                rank.bootstrap().barrier();
                // Another communicator's window has no place in this group.
                try (MoeRank world = MoeRank.of(rank, shape, model)) {
                    MoeLayer layer = world.layer();
                    DeviceMemory memory = owner.allocate(layer.buffers().received().byteSize());
                    Window foreign = owner.register(memory);
                    EpTensor received = EpTensor.inWindow(foreign.whole(), LayerKind.type(model.format()),
                            layer.buffers().received().shape());
                    layer.handle().update(TensorRows.of(layer.buffers().routing(), 0), world.stream());
                    assertIllegalArgument(() -> layer.handle().dispatch(
                            DispatchInputs.of(TensorRows.of(layer.buffers().tokens(), 0),
                                    TensorRows.of(layer.buffers().weights(), 0)),
                            DispatchOutputs.of(received, layer.buffers().receivedWeights(),
                                    layer.buffers().receivedIndices()),
                            null, DispatchConfig.defaults(), world.stream()), "another communicator");
                    foreign.close();
                    memory.close();
                }
            }
        });
    }

    /** The device has lost afterwards as many bytes as the calculator says before anything is allocated. */
    @EachLayerKind
    void f24MemoryIsKnownBeforeItIsTaken(LayerKind shape, EmulatedCluster cluster) {
        cluster.run(rank -> {
            EpCase model = shape.draw(RANKS, 226);
            EpGroupConfig config = shape.config(model);
            EpSizing sizing = EpSizing.of(config, RANKS);
            try (MoeRank world = MoeRank.of(rank, shape, model)) {
                EpHandle handle = world.own(world.group().createHandle());
                EmulatorUsage before = Emulator.usage(rank.device());
                try (var buffers = handle
                        .allocateBuffers(BufferConfig.of(model.hidden(), LayerKind.type(model.format())))) {
                    long taken = Emulator.usage(rank.device()).deviceBytes() - before.deviceBytes();
                    assertThat(buffers.handle()).isEqualTo(handle);
                    assertThat(taken).isEqualTo(
                            sizing.buffersBytes(BufferConfig.of(model.hidden(), LayerKind.type(model.format()))));
                }
                assertThat(world.group().sizing().rdmaBufferBytes()).isEqualTo(sizing.rdmaBufferBytes());
                assertThat(shape.isLowLatency() ? sizing.rdmaBufferBytes() : sizing.windowBytes()).isPositive();
            }
        });
    }
}
