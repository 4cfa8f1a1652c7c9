package io.nccl4j.ep.graphs;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.nccl4j.NativeObject;
import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.checks.Condition;
import io.nccl4j.cuda.CaptureMode;
import io.nccl4j.cuda.CudaEvent;
import io.nccl4j.cuda.CudaException;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpSizing;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.Layout;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.Window;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.EachLowLatencyKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.assertj.core.api.InstanceOfAssertFactories;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Captures that must fail do so with the right words, and leave everything usable; what a graph needs stays. */
@EmulatedRanks(CaptureGuardTest.RANKS)
class CaptureGuardTest {
    static final int RANKS = 2;

    private final CaseSeeds seeds = CaseSeeds.fresh();

    private EpCase draw(LayerKind kind) {
        return seeds.draw(kind.space(RANKS).withRoutings(RoutingKind.UNIFORM));
    }

    /** Eagerly and as a new graph: nothing that went wrong before has left a trace. */
    static void checkUsable(MoeRank self, MoeLayer layer, EpCase batch) {
        int most = batch.shape().maxTokens();
        assertThat(self.stream().isCapturing()).isFalse();
        layer.spoil();
        layer.runAndVerify(batch, most, () -> layer.enqueue(most));
        layer.spoil();
        try (CudaGraph graph = self.stream().capture(() -> layer.enqueue(most));
                CudaGraphExec exec = graph.instantiate()) {
            exec.launch(self.stream());
            self.await();
            layer.verify(batch, most);
        }
    }

    @EachLayerKind
    void aCaptureThatBreaksNativelyLeavesAllUsable(LayerKind kind, EmulatedCluster cluster) {
        EpCase model = draw(kind);
        MoeRank.run(cluster, kind, model, (self, layer) -> {
            // Code that does not know of nccl4j synchronises: CUDA invalidates the capture.
            assertFailure(CudaException.class, () -> self.stream().capture(() -> {
                layer.enqueue(1);
                assertThat(CudaRuntime.cudaStreamSynchronize(MemorySegment.ofAddress(self.stream().address())))
                        .isEqualTo(CudaRuntime.cudaErrorStreamCaptureUnsupported());
            }), "cudaStreamEndCapture", "cudaErrorStreamCaptureInvalidated");
            assertFailure(UnsupportedOperationException.class, () -> self.stream().capture(() -> {
                layer.dispatch(1);
                throw new UnsupportedOperationException("half-way");
            }));
            assertIllegalArgument(() -> CudaStream.wrap(0, self.device()), "legacy default stream");
            checkUsable(self, layer, model);
        });
    }

    @Test
    void aGraphKeepsWindowsEventsAndForkedStreamsToo(EmulatedCluster cluster) {
        LayerKind kind = LayerKind.HT_FLAT;
        EpCase model = draw(kind);
        cluster.run(rank -> {
            int most = model.shape().maxTokens();
            try (MoeRank self = MoeRank.of(rank, kind, model);
                    MoeLayer layer = self.layer();
                    CudaStream side = CudaStream.create(rank.device());
                    CudaEvent fork = CudaEvent.create(rank.device());
                    CudaEvent join = CudaEvent.create(rank.device());
                    DeviceMemory memory = self.group().communicator()
                            .allocate(Math.ceilDiv(layer.buffers().received().byteSize(), 4096) * 4096);
                    Window window = self.group().communicator().register(memory)) {
                EpBuffers buffers = layer.buffers();
                EpTensor received = EpTensor.inWindow(window.slice(0, buffers.received().byteSize()),
                        LayerKind.type(model.format()), buffers.received().rows(), model.hidden());
                layer.handle().warmUp(buffers, most, self.stream());
                CudaGraph graph = self.stream().capture(() -> {
                    fork.record(self.stream());
                    side.waitEvent(fork);
                    layer.handle().update(buffers.routing(), side);
                    layer.handle().dispatch(DispatchInputs.of(buffers.tokens(), buffers.weights()),
                            DispatchOutputs.of(received, buffers.receivedWeights(), buffers.receivedIndices()), null,
                            side);
                    join.record(side);
                    self.stream().waitEvent(join);
                });
                for (NativeObject used : List.of(window, memory, side, fork, join, self.stream(), layer.handle(),
                        self.group(), buffers.receivedWeights().memory(), buffers.tokens().memory())) {
                    assertThatThrownBy(used::close).as("%s", used).isInstanceOf(IllegalStateException.class)
                            .hasMessageContaining("cannot be closed while it is in use by");
                }
                CudaGraphExec exec = graph.instantiate();
                graph.close();
                assertThatThrownBy(window::close).hasMessageContaining("CudaGraphExec#");
                exec.launch(self.stream());
                self.stream().await(MoeRank.LIMIT);
                exec.close();
            }
        });
    }

    @EachLowLatencyKind
    void anUpdateBetweenReplaysDoesNotChangeTheGraph(LayerKind kind, EmulatedCluster cluster) {
        EpCase model = draw(kind);
        EpCase other = model.redraw(RoutingKind.UNIFORM, seeds.seed());
        cluster.run(rank -> {
            int most = model.shape().maxTokens();
            try (MoeRank self = MoeRank.of(rank, kind, model);
                    MoeLayer layer = self.layer();
                    DeviceMemory memory = DeviceMemory.allocate(rank.device(), layer.buffers().routing().byteSize());
                    CudaGraph graph = self.stream().capture(() -> layer.enqueue(most));
                    CudaGraphExec exec = graph.instantiate()) {
                EpTensor elsewhere = EpTensor.of(memory, DataType.INT64, most, model.shape().topK());
                memory.fillAsync((byte) -1, self.stream());
                layer.load(model);
                layer.spoil();
                layer.handle().update(elsewhere, self.stream());
                exec.launch(self.stream());
                self.await();
                layer.verify(model, most);
                // What changes it is a write into what was captured.
                layer.spoil();
                layer.runAndVerify(other, most, () -> exec.launch(self.stream()));
            }
        });
    }

    @Test
    void growthOfTheRdmaBufferEndsTheGraph(EmulatedCluster cluster) {
        LayerKind kind = LayerKind.LL_RANK_MAJOR;
        EpCase model = seeds.first(1000)
                .mapToObj(
                        seed -> EpCase.draw(kind.space(RANKS).withFormat(NumberFormat.BFLOAT16).withHidden(512), seed))
                .filter(some -> bufferBytes(some, Layout.EXPERT_MAJOR) > bufferBytes(some, Layout.RANK_MAJOR))
                .findFirst().orElseThrow();
        MoeRank.run(cluster, kind, model, EpGroupConfig::growingRdmaBuffer, (self, layer) -> {
            try (CudaGraph graph = self.stream().capture(() -> layer.enqueue(1));
                    CudaGraphExec exec = graph.instantiate()) {
                layer.load(model.redraw(RoutingKind.NOTHING, 1));
                // One of the same layout needs no more.
                try (EpHandle same = self.group().createHandle()) {
                    assertThat(same.layout()).isEqualTo(Layout.RANK_MAJOR);
                    exec.launch(self.stream());
                    self.stream().await(MoeRank.LIMIT);
                    self.bootstrap().barrier();
                }
                try (EpHandle larger = self.group().createHandle(Layout.EXPERT_MAJOR, model.shape().topK(),
                        HandleConfig.defaults())) {
                    assertThat(larger.layout()).isEqualTo(Layout.EXPERT_MAJOR);
                    assertIllegalState(() -> exec.launch(self.stream()), "can no longer be launched", "RDMA buffer",
                            "capture again");
                }
                self.bootstrap().barrier();
                checkUsable(self, layer, model);
            }
        });
    }

    private static long bufferBytes(EpCase model, Layout layout) {
        return EpSizing.of(LayerKind.LL_RANK_MAJOR.config(model).layout(layout), RANKS).rdmaBufferBytes();
    }

    @EachLayerKind
    @EmulatedRanks(value = RANKS, limitSeconds = 120)
    void otherThreadsMayAllocateDuringACapture(LayerKind kind, EmulatedCluster cluster) {
        EpCase model = draw(kind);
        cluster.run(rank -> captureBesideAllocations(rank, kind, model));
    }

    private static void captureBesideAllocations(EmulatedRank rank, LayerKind kind, EpCase model) throws Exception {
        AtomicBoolean done = new AtomicBoolean();
        AtomicInteger rounds = new AtomicInteger();
        // A thread of its own: those of the common pool may be fewer than ranks.
        CompletableFuture<Void> other = CompletableFuture.runAsync(() -> {
            rank.device().makeCurrent();
            try (CudaStream own = CudaStream.create(rank.device()); Arena arena = Arena.ofConfined()) {
                MemorySegment host = arena.allocate(JAVA_LONG);
                while (!done.get()) {
                    try (DeviceMemory memory = DeviceMemory.allocate(rank.device(), 1 << 16)) {
                        memory.copyFrom(host);
                        memory.fillAsync((byte) 1, own);
                        own.synchronize();
                    }
                    rounds.incrementAndGet();
                }
            }
        }, task -> Thread.ofPlatform().daemon().start(task));
        try (MoeRank self = MoeRank.of(rank, kind, model); MoeLayer layer = self.layer()) {
            for (int capture = 0; capture < 5; capture++) {
                try (CudaGraph graph = self.stream().capture(() -> {
                    layer.dispatch(1);
                    int until = rounds.get() + 2;
                    Condition.await("the other thread makes progress", () -> rounds.get() >= until);
                    layer.experts();
                    layer.combine();
                })) {
                    assertThat(graph.nodeCount()).isPositive();
                }
            }
            checkUsable(self, layer, model);
        } finally {
            done.set(true);
            other.get(10, TimeUnit.SECONDS);
        }
    }

    @ParameterizedTest
    @EnumSource(CaptureMode.class)
    @EmulatedRanks(1)
    void theModeOfACaptureIsByArgument(CaptureMode mode, EmulatedCluster cluster) {
        LayerKind kind = LayerKind.HT_FLAT;
        EpCase model = seeds.draw(kind.space(1));
        int most = model.shape().maxTokens();
        cluster.run(rank -> {
            try (MoeRank self = MoeRank.of(rank, kind, model); MoeLayer layer = self.layer()) {
                layer.handle().warmUp(layer.buffers(), most, self.stream());
                try (CudaGraph graph = self.stream().capture(mode, () -> layer.enqueue(most));
                        CudaGraphExec exec = graph.instantiate()) {
                    layer.spoil();
                    layer.runAndVerify(model, most, () -> exec.launch(self.stream()));
                }
                // Another thread allocates meanwhile, which only the global mode forbids.
                AtomicReference<Object> other = new AtomicReference<>();
                Throwable failure = catchThrowable(() -> self.stream().capture(mode, () -> {
                    layer.enqueue(most);
                    other.set(elsewhere(rank));
                }).close());
                if (mode == CaptureMode.GLOBAL) {
                    assertThat(other.get()).asInstanceOf(InstanceOfAssertFactories.THROWABLE)
                            .isInstanceOf(IllegalStateException.class)
                            .hasMessageContaining("would break a capture in GLOBAL mode");
                } else {
                    assertThat(other.get()).isEqualTo("allocated");
                }
                assertThat(failure).isNull();
                checkUsable(self, layer, model);
            }
        });
    }

    /** Allocates on a thread of its own; what came of it. */
    private static Object elsewhere(EmulatedRank rank) {
        CompletableFuture<Object> done = new CompletableFuture<>();
        Thread.ofPlatform().daemon().start(() -> {
            try {
                rank.device().makeCurrent();
                DeviceMemory.allocate(rank.device(), 4096).close();
                done.complete("allocated");
            } catch (RuntimeException e) {
                done.complete(e);
            }
        });
        return done.orTimeout(10, TimeUnit.SECONDS).join();
    }
}
