package io.nccl4j.safety;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.NativeObject;
import io.nccl4j.cuda.CudaException;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.Layout;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Failure modes of captured graphs, numbered as in docs/failure-modes.md. */
@EmulatedRanks(GraphFailureModesTest.RANKS)
class GraphFailureModesTest {
    static final int RANKS = 2;

    private static CudaGraphExec capture(MoeRank world, Runnable body) {
        try (CudaGraph graph = world.stream().capture(body)) {
            return world.own(graph.instantiate());
        }
    }

    /** Closing is refused as long as the graph lives, so that every replay finds everything in its place. */
    @EachLayerKind
    void f01WhatAGraphUsesCannotBeFreedBeforeAReplay(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 101), (world, layer) -> {
            CudaGraphExec exec = capture(world, () -> layer.enqueue(layer.buffers().maxTokens()));
            List<NativeObject> used = new ArrayList<>(
                    List.of(layer.handle(), layer.buffers(), world.group(), world.communicator(), world.stream(),
                            layer.buffers().routing().memory(), layer.buffers().tokens().memory(),
                            layer.buffers().received().memory(), layer.buffers().combined().memory()));
            for (int replay = 0; replay < 5; replay++) {
                for (NativeObject resource : used) {
                    assertIllegalState(resource::close, "in use by");
                }
                EpCase batch = world.draw(RoutingKind.UNIFORM, 102 + replay);
                layer.runAndVerify(batch, exec);
            }
        });
    }

    /**
     * Memory of another owner cannot be kept: its loss shows at the replay, as an illegal address that names what was
     * there.
     */
    @Test
    @EmulatedRanks(value = 1, allowLeaks = true)
    void f01ForeignMemoryThatIsGoneIsNamedAtTheReplay(EmulatedCluster cluster) {
        LayerKind shape = LayerKind.LL_EXPERT_MAJOR;
        MoeRank.run(cluster, shape, shape.draw(1, 103), (world, layer) -> {
            DeviceMemory theirs = DeviceMemory.allocate(world.device(), layer.buffers().routing().byteSize());
            long address = theirs.address();
            DeviceMemory wrapped = DeviceMemory.wrap(address, theirs.byteSize(), world.device());
            int most = layer.buffers().maxTokens();
            EpTensor routing = EpTensor.of(wrapped, DataType.INT64, most, layer.handle().topK());
            DispatchInputs inputs = DispatchInputs.of(layer.buffers().tokens().rows(most));
            DispatchOutputs outputs = DispatchOutputs.of(layer.buffers().received());
            LayoutInfo counts = LayoutInfo.of(layer.buffers().expertCounts());
            CombineInputs made = CombineInputs.of(layer.buffers().expertOutputs());
            CombineOutputs combined = CombineOutputs.of(layer.buffers().combined().rows(most),
                    layer.buffers().weights().rows(most));
            wrapped.fillAsync((byte) -1, world.stream());
            CudaGraphExec exec = capture(world, () -> {
                layer.handle().update(routing, world.stream());
                layer.handle().dispatch(inputs, outputs, counts, world.stream());
                layer.handle().combine(made, combined, world.stream());
            });
            exec.launch(world.stream());
            world.await();
            theirs.close();
            exec.launch(world.stream());
            assertFailure(CudaException.class, world::await, "cudaErrorIllegalAddress");
            assertThat(Emulator.errorText(world.device())).contains("freed");
            assertThat(Emulator.describeAddress(address)).contains("freed");
            assertFailure(CudaException.class, () -> exec.launch(world.stream()), "failed before");
        });
    }

    /** The graph reads the captured tensor, not what update was given later; new routing goes into that tensor. */
    @EachLayerKind
    void f02NewRoutingIsWhatLiesInTheCapturedTensorAtTheReplay(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 104), (world, layer) -> {
            int most = layer.buffers().maxTokens();
            CudaGraphExec exec = capture(world, () -> layer.enqueue(most));
            DeviceMemory other = world.own(DeviceMemory.allocate(world.device(), layer.buffers().routing().byteSize()));
            other.fillAsync((byte) -1, world.stream());
            EpTensor elsewhere = EpTensor.of(other, DataType.INT64, most, layer.handle().topK());
            for (int replay = 0; replay < 6; replay++) {
                // Fewer tokens than were captured, other experts, and now and then an update that the graph knows
                // nothing of.
                EpCase batch = world.draw(replay % 2 == 0 ? RoutingKind.UNIFORM : RoutingKind.HOLES, 105 + replay);
                if (replay >= 3) {
                    layer.handle().update(elsewhere.rows(replay % most), world.stream());
                }
                layer.runAndVerify(batch, exec);
            }
            assertIllegalArgument(() -> layer.dispatch(most + 1), "room for 0 to " + most);
        });
    }

    @EachLayerKind
    void f03WhatCannotBeCapturedIsRefusedByNameAndTheCaptureGoesOn(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 111), (world, layer) -> {
            DeviceMemory memory = world.own(world.communicator().allocate(4096));
            List<Runnable> control = List.of(world.group()::createHandle,
                    () -> io.nccl4j.ep.EpGroup.create(world.communicator(), world.group().config()),
                    () -> layer.handle().allocateBuffers(world.rows()), () -> DeviceMemory.allocate(world.device(), 16),
                    () -> world.communicator().allocate(4096), () -> world.communicator().register(memory),
                    () -> world.communicator().split(0, 0),
                    () -> layer.handle().warmUp(layer.buffers(), 1, world.stream()));
            CudaGraphExec exec = capture(world, () -> {
                control.forEach(call -> assertIllegalState(call::run, "cannot be captured into a graph"));
                layer.enqueue(layer.buffers().maxTokens());
            });
            EpCase batch = world.draw(RoutingKind.UNIFORM, 112);
            layer.runAndVerify(batch, exec);
        });
    }

    @Test
    void f06AGraphWhoseBufferWasReplacedIsNotLaunched(EmulatedCluster cluster) {
        LayerKind shape = LayerKind.LL_RANK_MAJOR;
        cluster.run(rank -> {
            try (MoeRank world = MoeRank.of(rank, shape, shape.draw(RANKS, 121), EpGroupConfig::growingRdmaBuffer)) {
                MoeLayer layer = world.layer();
                int most = layer.buffers().maxTokens();
                CudaGraphExec exec = capture(world, () -> layer.enqueue(most));
                exec.launch(world.stream());
                world.await();
                EpHandle larger = world.own(
                        world.group().createHandle(Layout.EXPERT_MAJOR, world.shape().topK(), HandleConfig.defaults()));
                assertThat(larger.layout()).isEqualTo(Layout.EXPERT_MAJOR);
                assertIllegalState(() -> exec.launch(world.stream()), "RDMA buffer", "capture again");
                CudaGraphExec again = capture(world, () -> layer.enqueue(most));
                EpCase batch = world.draw(RoutingKind.UNIFORM, 122);
                layer.runAndVerify(batch, again);
            }
            // By default the buffer has its final size from the beginning, and another shape is refused.
            try (MoeRank world = MoeRank.of(rank, shape, shape.draw(RANKS, 121))) {
                assertIllegalArgument(() -> world.group().createHandle(Layout.EXPERT_MAJOR, world.shape().topK(),
                        HandleConfig.defaults()), "another shape is another group");
            }
        });
    }

    @EachLayerKind
    void f07AnOperationBesideTheCaptureIsRefused(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 123), (world, layer) -> {
            CudaStream side = world.own(CudaStream.create(world.device()));
            int most = layer.buffers().maxTokens();
            assertIllegalState(
                    () -> world.stream().capture(() -> layer.handle().dispatchAsync(layer.buffers(), most, side)),
                    "takes no part in the capture");
            // Forked from the captured stream by an event it is part of the graph.
            try (var fork = io.nccl4j.cuda.CudaEvent.create(world.device());
                    var join = io.nccl4j.cuda.CudaEvent.create(world.device())) {
                CudaGraphExec exec = capture(world, () -> {
                    fork.record(world.stream());
                    side.waitEvent(fork);
                    layer.enqueue(most);
                    join.record(side);
                    world.stream().waitEvent(join);
                });
                EpCase batch = world.draw(RoutingKind.UNIFORM, 124);
                layer.runAndVerify(batch, exec);
                exec.close();
            }
        });
    }

    /** Descriptors lie in memory that the tensors own, at one address; only rows are written anew. */
    @EachLayerKind
    @EmulatedRanks(1)
    void f13DescriptorsStayWhereTheyAre(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(1, 125), (world, layer) -> {
            List<String> seen = new ArrayList<>();
            for (int count = 0; count <= layer.buffers().maxTokens(); count += 3) {
                Emulator.logCalls(100_000);
                layer.enqueue(count);
                world.await();
                seen.add(Emulator.calls().stream().filter(call -> call.function().startsWith("ncclEp"))
                        .map(call -> call.function() + " " + call.arguments().replaceAll("\\[[0-9,]+]", "")).toList()
                        .toString());
                Emulator.logCalls(0);
                System.gc();
            }
            assertThat(seen).hasSizeGreaterThan(1).allMatch(seen.getFirst()::equals).first().asString()
                    .containsPattern("ncclEpDispatch .*inputs=\\{tokens=bf16@0x.*ncclEpCombine ");
        });
    }

    @EachLayerKind
    void f18GraphsOfSeveralSizesShareOneSetOfBuffers(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 126), (world, layer) -> {
            int most = layer.buffers().maxTokens();
            List<Integer> sizes = List.of(most, Math.max(1, most / 2), 1);
            List<CudaGraphExec> graphs = sizes.stream().map(size -> capture(world, () -> layer.enqueue(size))).toList();
            for (int turn = 0; turn < 9; turn++) {
                EpCase batch = world.draw(RoutingKind.UNIFORM, 127 + turn);
                // Ranks may choose different graphs: the smallest that holds their tokens.
                int count = layer.count(batch);
                int choice = 0;
                while (choice + 1 < sizes.size() && sizes.get(choice + 1) >= count) {
                    choice++;
                }
                CudaGraphExec graph = graphs.get(choice);
                layer.runAndVerify(batch, graph);
            }
            assertIllegalArgument(() -> layer.enqueue(most + 1));
        });
    }

    @EachLayerKind
    void f21AnExceptionInACaptureEndsTheCapture(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 136), (world, layer) -> {
            assertFailure(ArithmeticException.class, () -> world.stream().capture(() -> {
                layer.dispatch(1);
                throw new ArithmeticException("in the middle");
            }));
            assertThat(world.stream().isCapturing()).isFalse();
            // The eager fallback.
            layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 137));
        });
    }
}
