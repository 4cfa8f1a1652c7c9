package io.nccl4j.safety;

import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.ReduceOp;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.HostMirror;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;

/**
 * High-throughput update makes collectives itself, which a group of NCCL would put off: it must not be open while the
 * library is called.
 */
class CallsInANcclGroupTest {
    private static final int RANKS = 2;

    @EachLayerKind
    @EmulatedRanks(RANKS)
    void callsOfAnEpGroupAreNotPutOff(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 811), (world, layer) -> {
            EpCase batch = world.draw(RoutingKind.UNIFORM, 812);
            DeviceMemory memory = world.own(DeviceMemory.allocate(world.device(), 64));
            memory.fillAsync((byte) 1, world.stream());
            layer.load(batch);
            world.await();
            world.bootstrap().barrier();
            long groups = Emulator.callCount("ncclGroupStart");
            world.bootstrap().barrier();
            Communicator.group(() -> {
                world.communicator().collectives().allReduce(memory, memory, 16, DataType.INT32, ReduceOp.SUM,
                        world.stream());
                layer.enqueue(layer.count(batch));
                assertThat(Emulator.callCount("ncclGroupStart")).isEqualTo(groups);
                world.await();
                layer.verify(batch);
                world.bootstrap().barrier();
            });
            world.await();
            assertThat(HostMirror.ints(EpTensor.of(memory, DataType.INT32, 16))).containsOnly(RANKS * 0x01010101);
            assertIllegalState(() -> Communicator.group(() -> world.communicator().split(0, 0)),
                    "cannot be part of a group");
        });
    }
}
