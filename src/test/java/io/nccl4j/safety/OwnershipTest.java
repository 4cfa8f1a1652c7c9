package io.nccl4j.safety;

import static io.nccl4j.checks.Refusals.assertIllegalState;
import static io.nccl4j.checks.Refusals.assertThrown;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.nccl4j.NativeObject;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorCall;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.graph.EpHandlePool;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.Window;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** The ownership tree, closed in every wrong order: what is in use stays, and says by whom. */
@EmulatedRanks(1)
class OwnershipTest {
    private static final int RANKS = 2;

    static List<Arguments> things() {
        return Arrays.stream(LayerKind.values())
                .flatMap(kind -> Arrays.stream(Made.values()).map(made -> Arguments.of(kind, made))).toList();
    }

    @ParameterizedTest
    @MethodSource("things")
    void closingTwiceIsClosingOnce(LayerKind shape, Made made, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(1, 21), (world, layer) -> {
            layer.handle().warmUp(layer.buffers(), 1, world.stream());
            EmulatorUsage before = Emulator.usage();
            AutoCloseable it = made.make(world, layer);
            it.close();
            world.device().synchronize();
            assertThat(Emulator.usage().leakedSince(before)).isEmpty();
            Emulator.logCalls(100);
            it.close();
            assertThat(Emulator.calls()).extracting(EmulatorCall::function).isEmpty();
            Emulator.logCalls(0);
            assertThat(it.toString()).isNotEmpty();
            if (it instanceof NativeObject resource) {
                assertThat(resource.isClosed()).isTrue();
                assertThat(resource.toString()).contains("(closed)");
                assertIllegalState(resource::address, "is closed", "Made.java");
            }
        });
    }

    /** A resource that another needs. */
    private record Edge(NativeObject parent, NativeObject child) {
    }

    private static void checkRefused(NativeObject parent, NativeObject child) {
        assertThatThrownBy(parent::close).as("%s before %s", parent, child).isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("cannot be closed while it is in use by").hasMessageContaining(label(child))
                .hasMessageContaining(".java:").hasMessageContaining("close those first");
        assertThat(parent.isClosed()).isFalse();
        assertThat(parent.address()).isNotZero();
    }

    private static String label(NativeObject resource) {
        String text = resource.toString();
        return text.substring(0, text.indexOf('#') + 2);
    }

    @EachLayerKind
    @EmulatedRanks(RANKS)
    void aParentStaysAsLongAsItsChild(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 22), (world, layer) -> {
            DeviceMemory memory = world.own(world.communicator().allocate(8192));
            Window window = world.own(world.communicator().register(memory));
            DeviceMemory part = world.own(memory.slice(16, 64));
            DeviceMemory partOfPart = world.own(part.slice(16, 16));
            EpHandlePool pool = world.own(
                    EpHandlePool.builder(world.group()).slots(1).build(world.rows().hidden(), world.rows().type()));
            try (EpHandlePool.Slot slot = pool.acquire()) {
                EpHandle pooled = slot.handle();
                checkRefused(pooled, slot.buffers());
                assertIllegalState(pool::close, "is in use");
            }
            long bytes = world.group().handleMemoryBytes(shape.layout(), layer.handle().topK());
            DeviceMemory block = world.own(DeviceMemory.allocate(world.device(), bytes));
            EpHandle inBlock = world.own(world.group().createHandle(shape.layout(), layer.handle().topK(),
                    HandleConfig.defaults().memory(block)));
            List<Edge> edges = List.of(new Edge(world.communicator(), world.group()),
                    new Edge(world.communicator(), window), new Edge(memory, window), new Edge(memory, part),
                    new Edge(part, partOfPart), new Edge(world.group(), layer.handle()),
                    new Edge(layer.handle(), layer.buffers()), new Edge(block, inBlock), new Edge(world.group(), pool),
                    new Edge(layer.buffers().routing().memory(), layer.buffers()),
                    new Edge(layer.buffers().received().memory(), layer.buffers()));
            edges.forEach(edge -> checkRefused(edge.parent, edge.child));
            layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 23));
        });
    }

    @EachLayerKind
    @EmulatedRanks(RANKS)
    void nothingThatAGraphUsesGoesBeforeTheGraph(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 24), (world, layer) -> {
            int most = layer.buffers().maxTokens();
            CudaGraph graph = world.own(world.stream().capture(() -> layer.enqueue(most)));
            CudaGraphExec exec = world.own(graph.instantiate());
            graph.close();
            for (NativeObject used : List.of(layer.handle(), layer.buffers(), layer.buffers().received().memory(),
                    world.stream())) {
                checkRefused(used, exec);
            }
            for (NativeObject parent : List.of(world.group(), world.communicator())) {
                assertIllegalState(parent::close);
            }
            for (int replay = 0; replay < 3; replay++) {
                var batch = world.draw(RoutingKind.HOLES, 25 + replay);
                layer.runAndVerify(batch, exec);
            }
        });
    }

    @EachLayerKind
    void anotherThreadIsRefusedWhereThreadsMatter(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(1, 26), (world, layer) -> {
            try (var others = Executors.newSingleThreadExecutor()) {
                EpHandle spare = world.own(world.group().createHandle());
                for (AutoCloseable bound : List.of(layer.buffers(), spare, layer.handle())) {
                    Throwable thrown = others.submit(() -> catchThrowable(bound::close)).get(20, TimeUnit.SECONDS);
                    assertThrown(IllegalStateException.class, thrown, "it belongs to", "bindToCurrentThread");
                }
                EpGroup group = EpGroup.create(world.communicator(), world.group().config());
                EpHandle inherited = group.createHandle();
                Throwable thrown = others.submit(() -> catchThrowable(group::close)).get(20, TimeUnit.SECONDS);
                assertThrown(IllegalStateException.class, thrown, "it belongs to");
                assertThat(group.isClosed()).isFalse();
                others.submit(() -> {
                    group.bindToCurrentThread();
                    EpHandle theirs = group.createHandle();
                    theirs.close();
                    inherited.close();
                }).get(20, TimeUnit.SECONDS);
                assertThat(inherited.isClosed()).isTrue();
                CudaStream stream = CudaStream.create(world.device());
                Throwable refused = others.submit(() -> catchThrowable(stream::close)).get(20, TimeUnit.SECONDS);
                assertThrown(IllegalStateException.class, refused, "it belongs to");
                // What has no thread is closed by any.
                DeviceMemory memory = DeviceMemory.allocate(world.device(), 16);
                Communicator part = world.communicator().split(0, 0);
                others.submit(() -> {
                    stream.bindToCurrentThread();
                    stream.close();
                    memory.close();
                    part.close();
                }).get(20, TimeUnit.SECONDS);
                assertThat(List.of(stream.isClosed(), memory.isClosed(), part.isClosed())).containsOnly(true);
                // The owner has ended: whoever closes takes over.
                Thread owner = others.submit(Thread::currentThread).get(20, TimeUnit.SECONDS);
                others.shutdown();
                owner.join();
                group.close();
            }
        });
    }

    @EachLayerKind
    void threadsThatCloseAtTheSameTimeCloseOnce(LayerKind shape, EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (MoeRank world = MoeRank.of(rank, shape, shape.draw(1, 27));
                    var others = Executors.newFixedThreadPool(4)) {
                for (int round = 0; round < 50; round++) {
                    DeviceMemory memory = DeviceMemory.allocate(rank.device(), 16);
                    DeviceMemory part = memory.slice(0, 8);
                    long frees = Emulator.callCount("cudaFree");
                    var closes = List.of(memory, part, memory, part).stream()
                            .map(resource -> CompletableFuture.runAsync(resource::close, others).handle((ok, e) -> e))
                            .toList();
                    for (var close : closes) {
                        Throwable thrown = close.get(20, TimeUnit.SECONDS);
                        // The parent is refused if its turn comes before that of the part.
                        assertThat(thrown == null || thrown.getCause() instanceof IllegalStateException).isTrue();
                    }
                    part.close();
                    memory.close();
                    assertThat(Emulator.callCount("cudaFree") - frees).isEqualTo(1);
                }
            }
        });
    }
}
