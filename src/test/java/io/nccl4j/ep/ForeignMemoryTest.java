package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.ExpertFunction;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Buffers in memory that another library has allocated: here, by the CUDA runtime, unknown to nccl4j. */
@EmulatedRanks(2)
class ForeignMemoryTest {
    private static long allocate(long bytes) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
            assertThat(CudaRuntime.cudaMalloc(out, bytes)).isZero();
            return out.get(ValueLayout.ADDRESS, 0).address();
        }
    }

    private static void free(long address) {
        assertThat(CudaRuntime.cudaFree(MemorySegment.ofAddress(address))).isZero();
    }

    @EachLayerKind
    void aLayerWorksInWrappedMemoryAndLeavesItToItsOwner(LayerKind kind, EmulatedCluster cluster) {
        EpCase model = kind.draw(2, 1);
        cluster.run(rank -> {
            List<Long> foreign = new ArrayList<>();
            try (MoeRank moe = MoeRank.of(rank, kind, model);
                    EpHandle handle = moe.group().createHandle();
                    EpBuffers buffers = handle
                            .allocateBuffers(BufferConfig.of(model.hidden(), LayerKind.type(model.format())), bytes -> {
                                foreign.add(allocate(bytes));
                                return DeviceMemory.wrap(foreign.getLast(), bytes, rank.device());
                            });
                    MoeLayer layer = new MoeLayer(buffers, ExpertFunction.scaling(), moe.stream())) {
                assertThat(foreign).contains(buffers.routing().address(), buffers.tokens().address());
                layer.runAndVerify(model);
                moe.await();
                rank.bootstrap().barrier();
            }
            // Still allocated: freeing succeeds.
            foreign.forEach(ForeignMemoryTest::free);
        });
    }

    @Test
    void memoryThatDoesNotSuitIsRefusedAndClosed(EmulatedCluster cluster) {
        EpCase model = LayerKind.LL_EXPERT_MAJOR.draw(2, 1);
        cluster.run(rank -> {
            try (MoeRank moe = MoeRank.of(rank, LayerKind.LL_EXPERT_MAJOR, model);
                    EpHandle handle = moe.group().createHandle()) {
                BufferConfig rows = BufferConfig.of(model.hidden(), LayerKind.type(model.format()));
                List<DeviceMemory> given = new ArrayList<>();
                List<Long> freed = new ArrayList<>();
                assertIllegalArgument(() -> handle.allocateBuffers(rows, bytes -> {
                    given.add(given.isEmpty() ? DeviceMemory.adopt(allocate(bytes), bytes, rank.device(), address -> {
                        freed.add(address);
                        free(address);
                    }) : DeviceMemory.wrap(given.getFirst().address() + 16, bytes, rank.device()));
                    return given.getLast();
                }), "multiple of 256");
                assertThat(given).hasSize(2).allMatch(DeviceMemory::isClosed);
                assertThat(freed).hasSize(1);
                rank.bootstrap().barrier();
            }
        });
    }
}
