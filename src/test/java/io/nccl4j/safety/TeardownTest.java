package io.nccl4j.safety;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.nccl4j.NativeCallException;
import io.nccl4j.cuda.CudaEvent;
import io.nccl4j.cuda.CudaException;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.Fault;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.NcclException;
import io.nccl4j.nccl.ReduceOp;
import io.nccl4j.nccl.Window;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/**
 * After a failure of the device or an abort: calls fail at once and say why, and nothing native is destroyed any more.
 */
@EmulatedRanks(value = 1, allowLeaks = true)
class TeardownTest {
    /** Functions that end the process, or hang, when they are called after a failure. */
    private static final Set<String> FORBIDDEN = Set.of("ncclEpCreateGroup", "ncclEpGroupDestroy", "ncclEpInitHandle",
            "ncclEpCreateHandle", "ncclEpHandleDestroy", "ncclEpUpdateHandle", "ncclEpDispatch", "ncclEpCombine",
            "ncclCommDestroy", "ncclCommFinalize", "ncclCommAbort", "ncclCommWindowRegister",
            "ncclCommWindowDeregister", "ncclMemAlloc", "ncclMemFree", "cudaFree", "cudaFreeAsync", "cudaFreeHost",
            "cudaMalloc", "cudaMallocAsync", "cudaMallocHost", "cudaStreamDestroy", "cudaStreamCreateWithPriority",
            "cudaGraphDestroy", "cudaGraphExecDestroy", "cudaGraphInstantiate", "cudaEventCreateWithFlags",
            "cudaEventDestroy", "ncclAllReduce", "ncclCommSplit");

    private static Set<String> forbiddenCalls(Runnable body) {
        Emulator.logCalls(1 << 15);
        body.run();
        Set<String> made = new TreeSet<>();
        Emulator.calls().forEach(call -> made.add(call.function()));
        Emulator.logCalls(0);
        made.retainAll(FORBIDDEN);
        return made;
    }

    /** Everything a server may be in the middle of. */
    private static final class Busy {
        final MoeRank world;
        final MoeLayer layer;
        final DeviceMemory shared;
        final Window window;
        final PinnedMemory pinned;
        final CudaEvent event;
        final CudaGraph graph;
        final CudaGraphExec exec;
        final List<AutoCloseable> owned;

        Busy(MoeRank world) {
            this.world = world;
            this.layer = world.layer();
            this.shared = world.communicator().allocate(4096);
            this.window = world.communicator().register(shared);
            this.pinned = PinnedMemory.allocate(world.device(), 64);
            this.event = CudaEvent.create(world.device());
            this.graph = world.stream().capture(() -> layer.enqueue(1));
            this.exec = graph.instantiate();
            this.owned = List.of(exec, graph, event, pinned, window, shared, world);
        }

        List<Runnable> uses() {
            List<Runnable> uses = new ArrayList<>(List.of(() -> layer.enqueue(1),
                    () -> layer.handle().update(layer.buffers().routing(), world.stream()), world.group()::createHandle,
                    () -> EpGroup.create(world.communicator(), world.group().config()),
                    () -> world.communicator().allocate(16), () -> world.communicator().register(shared),
                    () -> world.communicator().split(0, 0), () -> world.communicator().collectives().allReduce(shared,
                            shared, 1, DataType.INT32, ReduceOp.SUM, world.stream())));
            uses.add(() -> layer.handle().allocateBuffers(world.rows()));
            return uses;
        }

        List<Runnable> usesOfTheDevice() {
            return List.of(() -> exec.launch(world.stream()), graph::instantiate,
                    () -> CudaStream.create(world.device()), () -> DeviceMemory.allocate(world.device(), 16),
                    () -> PinnedMemory.allocate(world.device(), 16), () -> CudaEvent.create(world.device()),
                    world.stream()::synchronize, world::await, () -> world.stream().capture(() -> {
                    }));
        }

        /** None of it may wait, or throw. */
        void close() {
            for (AutoCloseable resource : owned) {
                assertThat(catchThrowable(resource::close)).as("close of %s", resource).isNull();
            }
        }
    }

    @EachLayerKind
    void f20AfterAStickyErrorEveryCallFailsFastWithTheFirstCause(LayerKind shape, EmulatedCluster cluster) {
        cluster.run(rank -> {
            Busy busy = new Busy(MoeRank.of(rank, shape, shape.draw(1, 301)));
            Emulator.inject(new Fault.FailLaunch(rank.device().ordinal(), 3));
            Throwable first = catchThrowable(() -> {
                busy.layer.enqueue(1);
                busy.world.await();
            });
            assertThat(first).isInstanceOf(NativeCallException.class);
            // The library has no code for it; the device was asked what happened.
            CudaException cause = rank.device().failure();
            assertThat(cause).isNotNull();
            assertThat(cause.isSticky()).isTrue();
            assertThat(cause).hasMessageContaining("cudaErrorLaunchFailure");
            Set<String> made = forbiddenCalls(() -> {
                List<Runnable> uses = new ArrayList<>(busy.uses());
                uses.addAll(busy.usesOfTheDevice());
                for (Runnable use : uses) {
                    assertThatThrownBy(use::run).isInstanceOf(NativeCallException.class)
                            .hasMessageContaining("has failed before").hasMessageContaining(cause.getMessage())
                            .hasCause(cause);
                }
                busy.close();
            });
            assertThat(made).isEmpty();
            rank.device().reset();
            assertThat(rank.device().failure()).isNull();
        });
        // The same process goes on with new objects.
        MoeRank.run(cluster, shape, shape.draw(1, 302),
                (world, layer) -> layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 303)));
    }

    @EachLayerKind
    @EmulatedRanks(value = 2, allowLeaks = true)
    void afterAnAbortNothingOfTheCommunicatorIsTouched(LayerKind shape, EmulatedCluster cluster) {
        cluster.run(rank -> {
            Busy busy = new Busy(MoeRank.of(rank, shape, shape.draw(2, 304)));
            rank.bootstrap().barrier();
            busy.world.communicator().abort();
            busy.world.communicator().abort();
            rank.bootstrap().barrier();
            Set<String> made = new TreeSet<>(Set.of());
            List<Runnable> uses = busy.uses();
            for (Runnable use : uses) {
                assertIllegalState(use::run, "it was aborted");
            }
            rank.bootstrap().barrier();
            long before = natives();
            rank.bootstrap().barrier();
            busy.close();
            rank.bootstrap().barrier();
            assertThat(natives()).as("%s", made).isEqualTo(before);
            assertThat(busy.world.communicator().lost()).isEqualTo("it was aborted");
        });
    }

    /** Calls of all ranks that would be the end of a process after an abort. */
    private static long natives() {
        return List.of("ncclEpGroupDestroy", "ncclEpHandleDestroy", "ncclCommDestroy", "ncclCommAbort",
                "ncclCommWindowDeregister", "ncclMemFree").stream().mapToLong(Emulator::callCount).sum();
    }

    @EachLayerKind
    void anErrorOfNcclInTheBackgroundIsFoundAtTheNextFailureAndAbandons(LayerKind shape, EmulatedCluster cluster) {
        cluster.run(rank -> {
            Busy busy = new Busy(MoeRank.of(rank, shape, shape.draw(1, 305)));
            EpHandle handle = busy.layer.handle();
            Emulator.presetResult("ncclEpDispatch", io.nccl4j.bindings.nccl.Nccl.ncclUnhandledCudaError());
            Emulator.inject(new Fault.FailLaunch(rank.device().ordinal(), 1));
            assertFailure(NativeCallException.class, () -> {
                busy.layer.experts();
                handle.dispatchAsync(busy.layer.buffers(), 1, busy.world.stream());
            });
            assertThat(rank.device().failure()).isNotNull();
            assertThat(forbiddenCalls(busy::close)).isEmpty();
        });
    }

    @EachLayerKind
    void whatTheOwnerOfABorrowedCommunicatorHasAbortedIsAbandoned(LayerKind shape, EmulatedCluster cluster) {
        cluster.run(rank -> {
            Communicator owner = Communicator.init(rank.bootstrap(), rank.device());
            Communicator borrowed = Communicator.borrow(owner.address(), rank.device());
            EpGroup group = EpGroup.create(borrowed, shape.config(shape.draw(1, 306)));
            EpHandle handle = group.createHandle();
            owner.abort();
            borrowed.abandon("its owner has aborted it");
            assertThat(forbiddenCalls(() -> {
                assertIllegalState(group::createHandle, "its owner has aborted it");
                handle.close();
                group.close();
                borrowed.close();
                owner.close();
            })).isEmpty();
        });
    }

    @EachLayerKind
    void aCodeOfTheLibraryAloneLeavesTheCommunicatorUsable(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(1, 307), (world, layer) -> {
            for (String function : List.of("ncclEpUpdateHandle", "ncclEpDispatch", "ncclEpCombine")) {
                Emulator.presetResult(function, io.nccl4j.bindings.nccl.Nccl.ncclInternalError());
                assertThatThrownBy(() -> layer.enqueue(1)).isInstanceOfSatisfying(NcclException.class,
                        e -> assertThat(e.function()).isEqualTo(function));
                assertThat(world.communicator().isUsable()).isTrue();
                layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 308));
            }
        });
    }
}
