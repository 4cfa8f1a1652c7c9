package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.bindings.dlpack.DLDataType;
import io.nccl4j.bindings.dlpack.DLDevice;
import io.nccl4j.bindings.dlpack.DLManagedTensorVersioned;
import io.nccl4j.bindings.dlpack.DLPackVersion;
import io.nccl4j.bindings.dlpack.DLTensor;
import io.nccl4j.bindings.dlpack.Dlpack;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;

/** The structs are read and written here by their fields, as another library would. */
@EmulatedRanks
class DlpackExchangeTest {
    private static MemorySegment managed(long address) {
        return MemorySegment.ofAddress(address).reinterpret(DLManagedTensorVersioned.sizeof());
    }

    @Test
    void whatIsGivenIsDescribedAndKeptOpenUntilItIsDeleted(EmulatedCluster cluster) {
        cluster.run(rank -> {
            DeviceMemory memory = DeviceMemory.allocate(rank.device(), 8 * 16 * 2);
            EpTensor tensor = EpTensor.of(memory, DataType.BFLOAT16, 8, 16).rows(5);
            MemorySegment managed = managed(DlpackExchange.give(tensor));
            MemorySegment described = DLManagedTensorVersioned.dl_tensor(managed);
            assertThat(DLPackVersion.major(DLManagedTensorVersioned.version(managed))).isEqualTo(1);
            assertThat(DLManagedTensorVersioned.flags(managed)).isZero();
            assertThat(DLTensor.data(described).address()).isEqualTo(memory.address());
            assertThat(DLTensor.byte_offset(described)).isZero();
            assertThat(DLDevice.device_type(DLTensor.device(described))).isEqualTo(2);
            assertThat(DLDevice.device_id(DLTensor.device(described))).isEqualTo(rank.device().ordinal());
            assertThat(DLDataType.code(DLTensor.dtype(described))).isEqualTo((byte) 4);
            assertThat(DLDataType.bits(DLTensor.dtype(described))).isEqualTo((byte) 16);
            assertThat(DLDataType.lanes(DLTensor.dtype(described))).isEqualTo((short) 1);
            assertThat(DLTensor.ndim(described)).isEqualTo(2);
            assertThat(longs(DLTensor.shape(described))).containsExactly(5, 16);
            assertThat(longs(DLTensor.strides(described))).containsExactly(16, 1);
            assertIllegalState(memory::close);
            DLManagedTensorVersioned.deleter.invoke(DLManagedTensorVersioned.deleter(managed), managed);
            memory.close();
            assertIllegalState(() -> DlpackExchange.give(tensor));
        });
    }

    private static long[] longs(MemorySegment values) {
        return values.reinterpret(2 * JAVA_LONG.byteSize()).toArray(JAVA_LONG);
    }

    @Test
    void everyTypeComesBackAsItself(EmulatedCluster cluster) {
        cluster.run(rank -> {
            for (DataType type : DataType.values()) {
                try (DeviceMemory memory = DeviceMemory.allocate(rank.device(), 4 * 32 * type.byteSize())) {
                    EpTensor taken = DlpackExchange.take(DlpackExchange.give(EpTensor.of(memory, type, 4, 32)));
                    assertThat(taken.type()).isEqualTo(type);
                    assertThat(taken.shape()).containsExactly(4, 32);
                    assertThat(taken.address()).isEqualTo(memory.address());
                    assertIllegalState(memory::close);
                    // Gives it back: the try may close the memory now.
                    taken.memory().close();
                }
            }
        });
    }

    /** A tensor of another library's, float32 [2, 4], of which a test changes what it is about. */
    private static void foreign(CudaDevice device, Consumer<MemorySegment> change,
            java.util.function.BiConsumer<Long, AtomicInteger> use) {
        AtomicInteger deleted = new AtomicInteger();
        try (DeviceMemory memory = DeviceMemory.allocate(device, 512); Arena arena = Arena.ofConfined()) {
            MemorySegment managed = arena.allocate(DLManagedTensorVersioned.layout());
            MemorySegment described = DLManagedTensorVersioned.dl_tensor(managed);
            DLPackVersion.major(DLManagedTensorVersioned.version(managed), 1);
            DLManagedTensorVersioned.deleter(managed, DLManagedTensorVersioned.deleter.allocate(self -> {
                assertThat(self.address()).isEqualTo(managed.address());
                deleted.incrementAndGet();
            }, arena));
            DLTensor.data(described, MemorySegment.ofAddress(memory.address()));
            DLTensor.byte_offset(described, 256);
            DLDevice.device_type(DLTensor.device(described), Dlpack.kDLCUDA());
            DLDevice.device_id(DLTensor.device(described), device.ordinal());
            DLTensor.ndim(described, 2);
            DLDataType.code(DLTensor.dtype(described), (byte) Dlpack.kDLFloat());
            DLDataType.bits(DLTensor.dtype(described), (byte) 32);
            DLDataType.lanes(DLTensor.dtype(described), (short) 1);
            DLTensor.shape(described, arena.allocateFrom(JAVA_LONG, 2, 4));
            change.accept(managed);
            use.accept(managed.address(), deleted);
        }
    }

    @Test
    void closingGivesATakenTensorBackOnce(EmulatedCluster cluster) {
        cluster.run(rank -> foreign(rank.device(), managed -> {
        }, (address, deleted) -> {
            EpTensor taken = DlpackExchange.take(address);
            assertThat(taken).hasToString("EpTensor FLOAT32[2, 4]");
            assertThat(taken.address() % 256).isZero();
            assertThat(taken.memory().byteSize()).isEqualTo(32);
            assertThat(deleted).hasValue(0);
            taken.memory().close();
            taken.memory().close();
            assertThat(deleted).hasValue(1);
            assertIllegalState(taken::address);
        }));
    }

    @Test
    void aForeignTensorThatDoesNotSuitStaysTheGivers(EmulatedCluster cluster) {
        cluster.run(rank -> {
            refused(rank.device(), 0, "is read-only", managed -> DLManagedTensorVersioned.flags(managed, 1));
            refused(rank.device(), 0, "on a device of type 1",
                    managed -> DLDevice.device_type(DLTensor.device(DLManagedTensorVersioned.dl_tensor(managed)), 1));
            refused(rank.device(), 0, "(code 2, 32 bits, 4 lanes)", managed -> DLDataType
                    .lanes(DLTensor.dtype(DLManagedTensorVersioned.dl_tensor(managed)), (short) 4));
            refused(rank.device(), 0, "has 0 dimensions",
                    managed -> DLTensor.ndim(DLManagedTensorVersioned.dl_tensor(managed), 0));
            refused(rank.device(), 0, "strides [1, 2]",
                    managed -> DLTensor.strides(DLManagedTensorVersioned.dl_tensor(managed),
                            Arena.ofAuto().allocateFrom(JAVA_LONG, 1, 2)));
            refused(rank.device(), 0, "is empty, [0, 4]", managed -> DLTensor
                    .shape(DLManagedTensorVersioned.dl_tensor(managed), Arena.ofAuto().allocateFrom(JAVA_LONG, 0, 4)));
            refused(rank.device(), 1, "is of version 2 of DLPack",
                    managed -> DLPackVersion.major(DLManagedTensorVersioned.version(managed), 2));
            assertIllegalArgument(() -> DlpackExchange.take(0));
        });
    }

    private static void refused(CudaDevice device, int deletions, String message, Consumer<MemorySegment> change) {
        foreign(device, change, (address, deleted) -> {
            assertIllegalArgument(() -> DlpackExchange.take(address), message, "must be");
            assertThat(deleted).hasValue(deletions);
        });
    }
}
