package io.nccl4j.ep.graphs;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.NativeObject;
import io.nccl4j.cuda.CudaEvent;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PiecewiseGraph;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.RankMask;
import io.nccl4j.ep.graph.EpHandlePool;
import io.nccl4j.ep.graph.GraphCache;
import io.nccl4j.ep.graph.GraphKey;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.Window;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.ArrayList;
import java.util.List;

/**
 * Everything that cannot be part of a graph is refused during a capture: by name, with the alternative, before anything
 * native.
 */
@EmulatedRanks(CaptureRefusalTest.RANKS)
class CaptureRefusalTest {
    static final int RANKS = 2;

    private final CaseSeeds seeds = CaseSeeds.fresh();

    /**
     * A call that is refused.
     *
     * @param name as the message has it
     * @param instead what the message says to do
     */
    private record Refusal(String name, String instead, Runnable call) {
        void verify() {
            assertThatThrownBy(call::run).as(name).isInstanceOf(IllegalStateException.class)
                    .hasMessageMatching("(?s)" + name + ".* cannot be captured into a graph: " + instead);
        }
    }

    /** One of everything that a rank can have. */
    private static final class Things implements AutoCloseable {
        private final List<NativeObject> made = new ArrayList<>();
        private final MoeRank self;
        private final MoeLayer layer;
        private final Communicator communicator;
        private final DeviceMemory memory;
        private final PinnedMemory pinned;
        private final DeviceMemory shareable;
        private final Window window;
        private final CudaEvent event;
        private final CudaStream side;
        private final EpHandlePool pool;
        private final CudaGraph graph;
        private final CudaGraphExec exec;
        private final GraphCache cache;

        Things(MoeRank self, MoeLayer layer) {
            this.self = self;
            this.layer = layer;
            communicator = self.group().communicator();
            memory = own(DeviceMemory.allocate(self.device(), 64));
            pinned = own(PinnedMemory.allocate(self.device(), 64));
            shareable = own(communicator.allocate(4096));
            window = own(communicator.register(shareable));
            event = own(CudaEvent.createTiming(self.device()));
            side = own(CudaStream.create(self.device()));
            pool = own(EpHandlePool.builder(self.group()).slots(1).build(layer.buffers().config()));
            graph = own(self.stream().capture(() -> memory.fillAsync((byte) 1, self.stream())));
            exec = own(graph.instantiate());
            cache = GraphCache.create(self.bootstrap(), self.stream(),
                    (key, stream) -> memory.fillAsync((byte) 2, stream));
        }

        private <T extends NativeObject> T own(T resource) {
            made.add(resource);
            return resource;
        }

        List<Refusal> creating() {
            EpHandle handle = layer.handle();
            EpGroup group = self.group();
            return List.of(
                    new Refusal("Communicator.init", "make communicators before the capture",
                            () -> Communicator.init(self.bootstrap(), self.device())),
                    new Refusal("Communicator.split", "make communicators before the capture",
                            () -> communicator.split(0, 0)),
                    new Refusal("Communicator.allocate", "allocate before the capture, at maximum capacity",
                            () -> communicator.allocate(4096)),
                    new Refusal("Communicator.register", "register before the capture",
                            () -> communicator.register(shareable)),
                    new Refusal("EpGroup.create", "create groups before the capture",
                            () -> EpGroup.create(communicator, group.config())),
                    new Refusal("EpGroup.createHandle", "create handles before the capture", group::createHandle),
                    new Refusal("EpGroup.createHandle", "create handles before the capture",
                            () -> group.createHandle(handle.layout(), layer.buffers().routing(), null,
                                    HandleConfig.defaults(), self.stream())),
                    new Refusal("EpHandle.allocateBuffers", "allocate before the capture",
                            () -> handle.allocateBuffers(layer.buffers().config())),
                    new Refusal("EpHandlePool.build", "build the pool before the capture",
                            () -> EpHandlePool.builder(group).build(512, DataType.BFLOAT16)),
                    new Refusal("EpGroup.bindToCurrentThread", "hand over before the capture",
                            group::bindToCurrentThread),
                    new Refusal("EpHandle.warmUp", "warm up before the capture",
                            () -> handle.warmUp(layer.buffers(), 1, self.stream())),
                    new Refusal("DeviceMemory.allocate", "allocate before the capture, at maximum capacity",
                            () -> DeviceMemory.allocate(self.device(), 16)),
                    new Refusal("DeviceMemory.allocateAsync", "allocate before the capture, at maximum capacity",
                            () -> DeviceMemory.allocateAsync(self.stream(), 16)),
                    new Refusal("PinnedMemory.allocate", "allocate before the capture",
                            () -> PinnedMemory.allocate(self.device(), 16)),
                    new Refusal("CudaStream.create", "create streams before the capture",
                            () -> CudaStream.create(self.device())),
                    new Refusal("CudaEvent.create", "create events before the capture",
                            () -> CudaEvent.create(self.device())),
                    new Refusal("CudaGraph.instantiate", "instantiate after the capture", graph::instantiate),
                    new Refusal("CudaGraphExec.upload", "upload after the capture", () -> exec.upload(self.stream())),
                    new Refusal("GraphCache.capture", "captures cannot be nested",
                            () -> cache.capture(GraphKey.of(1, layer.buffers()))),
                    new Refusal("GraphCache.evict", "evict after the capture",
                            () -> cache.evict(GraphKey.of(1, layer.buffers()))));
        }

        List<Refusal> waiting() {
            return List.of(
                    new Refusal("CudaStream.synchronize", "synchronise after the replay", self.stream()::synchronize),
                    new Refusal("CudaStream.await", "wait after the replay", () -> self.stream().await(MoeRank.LIMIT)),
                    new Refusal("CudaStream.isIdle", "ask after the replay", self.stream()::isIdle),
                    new Refusal("CudaDevice.synchronize", "synchronise after the capture", self.device()::synchronize),
                    new Refusal("CudaDevice.reset", "reset outside captures", self.device()::reset),
                    new Refusal("CudaEvent.synchronize", "use CudaStream.waitEvent, or wait after the replay",
                            event::synchronize),
                    new Refusal("CudaEvent.isComplete", "ask after the replay", event::isComplete),
                    new Refusal("CudaEvent.elapsedMillisSince", "measure after the replay",
                            () -> event.elapsedMillisSince(event)),
                    new Refusal("DeviceMemory.copyFrom", "use copyFromAsync", () -> memory.copyFrom(pinned.segment())),
                    new Refusal("DeviceMemory.copyTo", "use copyToAsync", () -> memory.copyTo(pinned.segment())),
                    new Refusal("EpBuffers.readCountsForDebug",
                            "counts stay on the device: give expertCounts\\(\\) to the experts' kernels",
                            () -> layer.buffers().readCountsForDebug(self.stream())),
                    new Refusal("an operation of EpGroup#",
                            "the stream takes no part in the capture; use the stream that captures, or let "
                                    + "this one wait " + "for an event of it",
                            () -> layer.handle().dispatchAsync(layer.buffers(), 1, side)));
        }

        List<Refusal> masking() {
            EpGroup group = self.group();
            return !group.config().hasMask()
                    ? List.of()
                    : List.of(
                            new Refusal("EpGroup.maskClean", "it waits for the other ranks; clean between launches",
                                    () -> group.maskClean(self.stream())),
                            new Refusal("EpGroup.maskUpdate",
                                    "the host's mask would be read at every replay; update before the launch",
                                    () -> group.maskUpdate(RankMask.all(RANKS), self.stream())),
                            new Refusal("EpGroup.maskQuery", "query into a tensor",
                                    () -> group.maskQuery(self.stream())));
        }

        List<Refusal> closing() {
            List<Refusal> all = new ArrayList<>();
            for (NativeObject resource : List.of(layer.buffers(), layer.handle(), self.group(), communicator, window,
                    shareable, memory, pinned, event, side, pool, graph, exec, self.stream())) {
                all.add(new Refusal("close of " + resource.getClass().getSimpleName(), "close after the capture",
                        resource::close));
            }
            all.add(new Refusal("close of a GraphCache", "close after the capture", cache::close));
            return all;
        }

        List<Refusal> all() {
            List<Refusal> all = new ArrayList<>(creating());
            all.addAll(waiting());
            all.addAll(masking());
            all.addAll(closing());
            return all;
        }

        @Override
        public void close() {
            cache.close();
            made.reversed().forEach(NativeObject::close);
        }
    }

    private EpCase draw(LayerKind kind) {
        return seeds.draw(kind.space(RANKS).withRoutings(RoutingKind.UNIFORM).withHidden(512));
    }

    private interface Body {
        void run(Things things) throws Exception;
    }

    private void run(LayerKind kind, EmulatedCluster cluster, Body body) {
        EpCase model = draw(kind);
        MoeRank.run(cluster, kind, model, config -> kind.isLowLatency() ? config.mask() : config, (self, layer) -> {
            try (Things things = new Things(self, layer)) {
                body.run(things);
                CaptureGuardTest.checkUsable(self, layer, model);
            }
        });
    }

    @EachLayerKind
    void everyCallIsRefusedBeforeItIsMade(LayerKind kind, EmulatedCluster cluster) {
        run(kind, cluster, things -> {
            MoeRank self = things.self;
            Bootstrap bootstrap = self.bootstrap();
            EpCase model = self.draw(RoutingKind.UNIFORM, 1);
            // All in one body: a refusal comes before the native call, so that the capture itself stays intact.
            try (CudaGraph graph = self.stream().capture(() -> {
                bootstrap.barrier();
                long calls = Emulator.callCount();
                bootstrap.barrier();
                things.all().forEach(Refusal::verify);
                assertIllegalState(() -> self.stream().capture(() -> {
                }), "captures cannot be nested");
                assertIllegalState(() -> PiecewiseGraph.on(self.stream()).captured("nested", on -> {
                }).build(), "captures cannot be nested");
                assertIllegalArgument(() -> CudaStream.wrap(0, self.device()), "legacy default stream",
                        "stream of your own");
                bootstrap.barrier();
                assertThat(Emulator.callCount()).isEqualTo(calls);
                bootstrap.barrier();
                things.layer.enqueue(model.shape().maxTokens());
            }); CudaGraphExec exec = graph.instantiate()) {
                things.layer.spoil();
                things.layer.runAndVerify(model, model.shape().maxTokens(), () -> exec.launch(things.self.stream()));
            }
        });
    }

    @EachLayerKind
    void anUncaughtRefusalEndsTheCaptureAndLeavesAllUsable(LayerKind kind, EmulatedCluster cluster) {
        run(kind, cluster, things -> {
            for (Refusal refusal : things.all()) {
                assertThatThrownBy(() -> things.self.stream().capture(() -> {
                    things.layer.enqueue(1);
                    refusal.call.run();
                })).as(refusal.name).isInstanceOf(IllegalStateException.class)
                        .hasMessageContaining("cannot be captured into a graph: ");
                assertThat(things.self.stream().isCapturing()).isFalse();
            }
        });
    }
}
