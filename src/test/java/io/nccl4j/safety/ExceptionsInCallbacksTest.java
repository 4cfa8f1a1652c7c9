package io.nccl4j.safety;

import static io.nccl4j.checks.Refusals.assertFailure;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.ep.CombineConfig;
import io.nccl4j.ep.DeviceAllocator;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Exceptions of the caller's own code: in a capture, in an allocator, in a host function, in a group of collectives.
 */
@EmulatedRanks(ExceptionsInCallbacksTest.RANKS)
class ExceptionsInCallbacksTest {
    static final int RANKS = 2;

    private static final class Broken extends RuntimeException {
        private static final long serialVersionUID = 1L;

        Broken(String message) {
            super(message);
        }
    }

    @EachLayerKind
    void aCaptureThatThrowsLeavesNothing(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 41), (world, layer) -> {
            int most = layer.buffers().maxTokens();
            layer.handle().warmUp(layer.buffers(), most, world.stream());
            List<Runnable> parts = new ArrayList<>(
                    List.of(() -> layer.dispatch(most), () -> layer.experts(), () -> layer.combine()));
            if (shape.isLowLatency()) {
                parts.add(() -> layer.handle().dispatchAsync(layer.buffers(), most,
                        DispatchConfig.defaults().sendOnly(), world.stream()));
                parts.add(layer.handle()::complete);
                parts.add(() -> layer.handle().combineAsync(layer.buffers(), CombineConfig.defaults().sendOnly(),
                        world.stream()));
            }
            for (int done = 0; done <= parts.size(); done++) {
                int until = done;
                // What is alive is counted for all ranks together, so they count at the same time.
                world.bootstrap().barrier();
                EmulatorUsage before = Emulator.usage();
                world.bootstrap().barrier();
                assertThatThrownBy(() -> world.stream().capture(() -> {
                    parts.subList(0, until).forEach(Runnable::run);
                    throw new Broken("after " + until + " parts");
                })).isInstanceOf(Broken.class).hasMessage("after " + until + " parts").hasNoSuppressedExceptions();
                assertThat(world.stream().isCapturing()).isFalse();
                world.bootstrap().barrier();
                assertThat(Emulator.usage().leakedSince(before)).isEmpty();
                world.bootstrap().barrier();
                EpCase batch = world.draw(RoutingKind.HOLES, 42 + done);
                layer.runAndVerify(batch);
                try (CudaGraphExec exec = layer.capture(most)) {
                    layer.runAndVerify(batch, exec);
                }
            }
        });
    }

    @EachLayerKind
    @EmulatedRanks(1)
    void anAllocatorThatThrowsUndoesTheCall(LayerKind shape, EmulatedCluster cluster) {
        EpCase model = shape.draw(1, 43);
        MoeRank.run(cluster, shape, model, (world, unused) -> {
            int[] untilFailure = {Integer.MAX_VALUE};
            DeviceAllocator allocator = new DeviceAllocator(world.device());
            allocator.allocating = () -> {
                if (untilFailure[0]-- <= 0) {
                    throw new Broken("no memory today");
                }
            };
            var config = shape.config(model).allocator(allocator);
            int failures = 0;
            for (int nth = 0;; nth++) {
                EmulatorUsage before = Emulator.usage();
                untilFailure[0] = nth;
                try (EpGroup group = EpGroup.create(world.communicator(), config);
                        EpHandle handle = group.createHandle()) {
                    untilFailure[0] = Integer.MAX_VALUE;
                    assertThat(handle.topK()).isEqualTo(world.shape().topK());
                    break;
                } catch (IllegalStateException e) {
                    failures++;
                    assertThat(e).hasMessageContaining("the allocator of the EP group threw")
                            .hasRootCauseInstanceOf(Broken.class);
                }
                assertThat(Emulator.usage().leakedSince(before)).as("allocation %d failed", nth).isEmpty();
                assertThat(allocator.live()).isZero();
            }
            assertThat(failures).isPositive();
            EpGroup group = EpGroup.create(world.communicator(), config);
            EpHandle handle = group.createHandle();
            allocator.freed = () -> {
                throw new Broken("never mind");
            };
            assertThatThrownBy(handle::close).isInstanceOf(IllegalStateException.class)
                    .hasRootCauseMessage("never mind");
            assertThat(handle.isClosed()).isTrue();
            assertThatThrownBy(group::close).isInstanceOf(IllegalStateException.class)
                    .hasRootCauseMessage("never mind");
            assertThat(group.isClosed()).isTrue();
            assertThat(allocator.live()).isZero();
        });
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void aHostFunctionThatThrowsIsHeardOfAtTheNextWait(boolean captured, EmulatedCluster cluster) {
        LayerKind shape = LayerKind.LL_EXPERT_MAJOR;
        MoeRank.run(cluster, shape, shape.draw(RANKS, 44), (world, layer) -> {
            int most = layer.buffers().maxTokens();
            Runnable step = () -> {
                layer.dispatch(most);
                world.stream().launchHostFunction(() -> {
                    throw new Broken("an expert has failed");
                });
                layer.experts();
                layer.combine();
            };
            CudaGraph graph = captured ? world.own(world.stream().capture(step)) : null;
            CudaGraphExec exec = graph == null ? null : world.own(graph.instantiate());
            for (int turn = 0; turn < 3; turn++) {
                EpCase batch = world.draw(RoutingKind.UNIFORM, 45 + turn);
                layer.load(batch);
                if (exec == null) {
                    step.run();
                } else {
                    exec.launch(world.stream());
                }
                assertThatThrownBy(world::await).isInstanceOf(IllegalStateException.class)
                        .hasMessageContaining("host function").hasCauseInstanceOf(Broken.class);
                // The work around it is done all the same, so that the ranks stay in step.
                world.await();
                layer.verify(batch);
            }
        });
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void aGroupOfCollectivesThatThrowsEndsTheGroup(boolean before, EmulatedCluster cluster) {
        LayerKind shape = LayerKind.HT_FLAT;
        MoeRank.run(cluster, shape, shape.draw(RANKS, 46), (world, layer) -> {
            DeviceMemory memory = world.own(DeviceMemory.allocate(world.device(), 64));
            int peer = 1 - world.rank();
            assertFailure(Broken.class, () -> Communicator.group(() -> {
                if (!before) {
                    world.communicator().collectives().send(memory, 0, 4, io.nccl4j.nccl.DataType.INT32, peer,
                            world.stream());
                    world.communicator().collectives().receive(memory, 32, 4, io.nccl4j.nccl.DataType.INT32, peer,
                            world.stream());
                }
                throw new Broken("in a group");
            }));
            world.await();
            layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 47));
        });
    }
}
