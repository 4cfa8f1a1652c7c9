package io.nccl4j.guide;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.DlpackExchange;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.Layout;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.Test;

/** The examples of docs/interop.md as programs: they run on the emulator, and they are what the guide shows. */
@EmulatedRanks(1)
class InteropGuideTest {
    /** A library that has device memory of its own. */
    private static final class Other {
        static long allocate(long bytes) {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
                assertThat(CudaRuntime.cudaMalloc(out, bytes)).isZero();
                return out.get(ValueLayout.ADDRESS, 0).address();
            }
        }

        static void free(long address) {
            assertThat(CudaRuntime.cudaFree(MemorySegment.ofAddress(address))).isZero();
        }

    }

    @Test
    void addresses(EmulatedCluster cluster) {
        cluster.run(rank -> {
            long address = Other.allocate(64 * 4096 * 2);
            try (CudaStream ours = CudaStream.create(rank.device())) {
                long streamAddress = ours.address();
                // example addresses
                try (DeviceMemory memory = DeviceMemory.wrap(address, 64 * 4096 * 2, rank.device());
                        CudaStream stream = CudaStream.wrap(streamAddress, rank.device())) {
                    EpTensor tokens = EpTensor.of(memory, DataType.BFLOAT16, 64, 4096);
                    memory.fillAsync((byte) 0, stream);
                    assertThat(tokens.address()).isEqualTo(address);
                }
                // end
            }
            Other.free(address);
        });
    }

    @Test
    void buffers(EmulatedCluster cluster) {
        cluster.run(rank -> {
            EpGroupConfig config = EpGroupConfig.lowLatency().experts(4).maxTokensPerRank(8).maxTokenBytes(1024)
                    .layout(Layout.EXPERT_MAJOR).topK(2);
            try (Communicator communicator = Communicator.init(rank.bootstrap(), rank.device());
                    EpGroup group = EpGroup.create(communicator, config);
                    EpHandle handle = group.createHandle()) {
                // example buffers
                EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(512, DataType.BFLOAT16),
                        bytes -> DeviceMemory.adopt(Other.allocate(bytes), bytes, rank.device(), Other::free));
                // end
                buffers.close();
            }
        });
    }

    @Test
    void dlpack(EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (DeviceMemory memory = DeviceMemory.allocate(rank.device(), 64 * 4096 * 2)) {
                EpTensor tensor = EpTensor.of(memory, DataType.BFLOAT16, 64, 4096);
                // example give
                long managed = DlpackExchange.give(tensor);
                // end
                // example take
                EpTensor taken = DlpackExchange.take(managed);
                try (DeviceMemory theirs = taken.memory()) {
                    assertThat(theirs.address()).isEqualTo(memory.address());
                }
                // end
            }
        });
    }
}
