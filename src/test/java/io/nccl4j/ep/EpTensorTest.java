package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpTensor;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.Window;
import java.lang.foreign.MemorySegment;
import org.junit.jupiter.api.Test;

@EmulatedRanks
class EpTensorTest {
    private static MemorySegment struct(EpTensor tensor) {
        return MemorySegment.ofAddress(tensor.descriptor()).reinterpret(ncclEpTensor.sizeof());
    }

    @Test
    void theDescriptorSaysWhatTheTensorIs(EmulatedCluster cluster) {
        cluster.run(rank -> {
            DeviceMemory memory = DeviceMemory.allocate(rank.device(), 8 * 16 * 2);
            EpTensor tensor = EpTensor.of(memory, DataType.BFLOAT16, 8, 16);
            MemorySegment struct = struct(tensor);
            assertThat(ncclEpTensor.size(struct)).isEqualTo(48);
            assertThat(ncclEpTensor.magic(struct)).isEqualTo(NcclEp.NCCL_EP_TENSOR_MAGIC());
            assertThat(ncclEpTensor.ndim(struct)).isEqualTo(2);
            assertThat(ncclEpTensor.datatype(struct)).isEqualTo(DataType.BFLOAT16.code());
            assertThat(ncclEpTensor.data(struct).address()).isEqualTo(memory.address()).isEqualTo(tensor.address());
            assertThat(ncclEpTensor.win_hdl(struct).address()).isZero();
            assertThat(extents(struct)).containsExactly(8, 16);
            assertThat(tensor.rows(5)).isSameAs(tensor);
            assertThat(extents(struct)).containsExactly(5, 16);
            assertThat(tensor.shape()).containsExactly(5, 16);
            assertThat(tensor.rows()).isEqualTo(5);
            assertThat(tensor.rows(8).byteSize()).isEqualTo(256);
            assertThat(tensor).hasToString("EpTensor BFLOAT16[8, 16]");
            assertIllegalArgument(() -> tensor.rows(9), "9 rows", "0 to 8");
            assertIllegalArgument(() -> tensor.rows(-1));
            memory.close();
            assertIllegalState(tensor::address, "closed");
            assertIllegalState(() -> DispatchInputs.of(tensor));
            assertThat(tensor).hasToString("EpTensor BFLOAT16[8, 16] (closed)");
        });
    }

    private static long[] extents(MemorySegment struct) {
        return ncclEpTensor.sizes(struct).reinterpret(2 * JAVA_LONG.byteSize()).toArray(JAVA_LONG);
    }

    @Test
    void aTensorInAWindowEndsWithIt(EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (RuleBench bench = new RuleBench(rank); DeviceMemory memory = bench.communicator.allocate(8192)) {
                Window window = bench.communicator.register(memory);
                EpTensor tensor = EpTensor.inWindow(window.slice(4096, 1024), DataType.FLOAT32, 4, 64);
                assertThat(ncclEpTensor.win_hdl(struct(tensor)).address()).isEqualTo(window.address());
                assertThat(ncclEpTensor.win_offset(struct(tensor))).isEqualTo(4096);
                assertThat(tensor.address()).isEqualTo(memory.address() + 4096);
                DispatchOutputs outputs = DispatchOutputs.of(tensor);
                assertThat(outputs.isClosed()).isFalse();
                assertIllegalArgument(() -> EpTensor.inWindow(window.slice(4096, 1024), DataType.FLOAT32, 5, 64),
                        "takes 1280 bytes: the memory has 1024");
                window.close();
                assertIllegalState(outputs::checkOpen, "closed");
                assertIllegalState(tensor::address);
            }
        });
    }

    @Test
    void extentsThatOverflowAreRefused(EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (DeviceMemory memory = DeviceMemory.allocate(rank.device(), 1024)) {
                assertIllegalArgument(() -> EpTensor.of(memory, DataType.FLOAT32, 1L << 40, 1L << 40),
                        "the memory has 1024");
                assertIllegalArgument(() -> EpTensor.of(memory, DataType.FLOAT32, 4, -1), "none negative");
                assertThat(EpTensor.of(memory, DataType.FLOAT32, 0, 64).byteSize()).isZero();
            }
        });
    }
}
