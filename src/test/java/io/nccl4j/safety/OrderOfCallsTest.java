package io.nccl4j.safety;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.EachLowLatencyKind;
import io.nccl4j.testing.HostMirror;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import org.junit.jupiter.api.Test;

/**
 * Orders of right calls that would make ranks wait for ever, as hostile use has found them: refused, and the next step
 * is right.
 */
@EmulatedRanks(OrderOfCallsTest.RANKS)
class OrderOfCallsTest {
    static final int RANKS = 2;

    @EachLowLatencyKind
    void combineReturnsWhatTheLastDispatchBrought(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 901), (world, layer) -> {
            int most = layer.buffers().maxTokens();
            DeviceMemory memory = world
                    .own(DeviceMemory.allocate(world.device(), layer.buffers().routing().byteSize()));
            memory.fillAsync((byte) -1, world.stream());
            EpTensor other = EpTensor.of(memory, DataType.INT64, most, layer.handle().topK());
            for (EpTensor routing : new EpTensor[]{other, other.rows(0)}) {
                layer.dispatch(most);
                layer.handle().update(routing, world.stream());
                assertThatThrownBy(() -> layer.combine()).isInstanceOfAny(IllegalStateException.class,
                        IllegalArgumentException.class);
            }
            layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 902));
        });
    }

    @EachLayerKind
    void whatWasCapturedHasNotRun(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 903), (world, layer) -> {
            int most = layer.buffers().maxTokens();
            try (CudaGraphExec exec = layer.capture(most)) {
                assertIllegalState(() -> layer.combine(), "captured");
                EpCase batch = world.draw(RoutingKind.UNIFORM, 904);
                layer.load(batch);
                exec.launch(world.stream());
                layer.combine();
                world.await();
                layer.verify(batch);
            }
        });
    }

    @EachLowLatencyKind
    void nothingBeginsWhileASendHalfIsPending(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 905), EpGroupConfig::mask, (world, layer) -> {
            int most = layer.buffers().maxTokens();
            try (CudaGraphExec exec = layer.capture(most)) {
                layer.handle().dispatchAsync(layer.buffers(), most, DispatchConfig.defaults().sendOnly(),
                        world.stream());
                for (Runnable call : new Runnable[]{() -> exec.launch(world.stream()),
                        () -> layer.handle().warmUp(layer.buffers(), 1, world.stream()),
                        () -> world.group().maskClean(world.stream()), layer.handle()::close, () -> layer.combine()}) {
                    assertIllegalState(call::run);
                }
                layer.handle().complete();
                layer.combine();
                EpCase batch = world.draw(RoutingKind.UNIFORM, 906);
                layer.runAndVerify(batch, exec);
            }
        });
    }

    /** NCCL cannot drop half of a group. */
    @Test
    void aGroupOfWhichHalfFailsIsNotMade(EmulatedCluster cluster) {
        cluster.run(rank -> {
            LayerKind shape = LayerKind.HT_FLAT;
            try (MoeRank world = MoeRank.of(rank, shape, shape.draw(RANKS, 912))) {
                DeviceMemory memory = world.own(DeviceMemory.allocate(rank.device(), 64));
                int peer = 1 - rank.rank();
                rank.bootstrap().barrier();
                long sends = Emulator.callCount("ncclSend");
                rank.bootstrap().barrier();
                assertIllegalArgument(() -> Communicator.group(() -> {
                    world.communicator().collectives().send(memory, 0, 4, DataType.INT32, peer, world.stream());
                    world.communicator().collectives().receive(memory, 60, 4, DataType.INT32, peer, world.stream());
                }));
                assertThat(Emulator.callCount("ncclSend")).isEqualTo(sends);
                world.await();
                rank.bootstrap().barrier();
                memory.fillAsync((byte) rank.rank(), world.stream());
                Communicator.group(() -> {
                    world.communicator().collectives().send(memory, 0, 4, DataType.INT32, peer, world.stream());
                    world.communicator().collectives().receive(memory, 16, 4, DataType.INT32, peer, world.stream());
                });
                world.await();
                assertThat(HostMirror.ints(EpTensor.of(world.own(memory.slice(16, 16)), DataType.INT32, 4)))
                        .containsOnly(peer * 0x01010101);
            }
        });
    }
}
