package io.nccl4j.nccl;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import org.junit.jupiter.api.Test;

@EmulatedRanks(2)
class WindowTest {
    @FunctionalInterface
    private interface Body {
        void run(Communicator communicator, DeviceMemory memory, Window window);
    }

    private static void run(EmulatedCluster cluster, Body body) {
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            try (DeviceMemory memory = communicator.allocate(8192); Window window = communicator.register(memory)) {
                body.run(communicator, memory, window);
            }
        });
    }

    @Test
    void slicesAreBoundsChecked(EmulatedCluster cluster) {
        run(cluster, (communicator, memory, window) -> {
            assertThat(window.byteSize()).isEqualTo(8192);
            assertThat(window.communicator()).isSameAs(communicator);
            assertThat(window.memory()).isSameAs(memory);
            WindowSlice slice = window.slice(4096, 1024);
            assertThat(slice.offset()).isEqualTo(4096);
            assertThat(slice.byteSize()).isEqualTo(1024);
            assertThat(slice.address()).isEqualTo(memory.address() + 4096);
            assertThat(slice.window()).isSameAs(window);
            WindowSlice inner = slice.slice(24, 1000);
            assertThat(inner.offset()).isEqualTo(4120);
            assertThat(window.whole().byteSize()).isEqualTo(8192);
            for (long[] range : new long[][]{{-1, 8}, {0, 0}, {8192, 1}, {8000, 193}, {0, Long.MAX_VALUE},
                    {Long.MAX_VALUE, 1}}) {
                assertIllegalArgument(() -> window.slice(range[0], range[1]), "is outside of Window#", "8192 bytes");
            }
            for (long[] range : new long[][]{{-1, 8}, {0, 0}, {1024, 1}, {24, 1001}, {Long.MAX_VALUE, 1}}) {
                assertIllegalArgument(() -> slice.slice(range[0], range[1]), "is outside of 1024 bytes from 4096");
            }
        });
    }

    @Test
    void holdsItsCommunicatorAndItsMemory(EmulatedCluster cluster) {
        run(cluster, (communicator, memory, window) -> {
            assertIllegalState(communicator::close, "in use by Window#", "created at");
            assertIllegalState(memory::close, "in use by Window#");
            WindowSlice slice = window.slice(0, 64);
            window.close();
            window.close();
            assertIllegalState(slice::address, "is closed");
            assertIllegalState(() -> window.slice(0, 64));
        });
    }

    @Test
    void foreignAndMisalignedMemoryIsRefused(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            try (DeviceMemory foreign = DeviceMemory.allocate(CudaDevice.of(9), 4096);
                    DeviceMemory memory = communicator.allocate(8192);
                    DeviceMemory shifted = memory.slice(256, 4096)) {
                assertIllegalArgument(() -> communicator.register(foreign),
                        "is not memory of CUDA device " + rank.rank());
                assertIllegalArgument(() -> communicator.register(shifted), "multiple of 4096");
            }
        });
    }

    @Test
    void aRefusedRegistrationLeavesNothing(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            try (DeviceMemory memory = communicator.allocate(4096)) {
                rank.bootstrap().barrier();
                if (rank.rank() == 0) {
                    Emulator.presetResult("ncclCommWindowRegister", 5, 0, 2);
                }
                rank.bootstrap().barrier();
                assertFailure(NcclException.class, () -> communicator.register(memory), "ncclCommWindowRegister",
                        "ncclInvalidUsage");
            }
        });
    }

    @Test
    void symmetricMemoryComesAndGoes(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            long before = Emulator.usage(rank.device()).deviceAllocations();
            try (DeviceMemory memory = communicator.allocate(100)) {
                assertThat(memory.byteSize()).isEqualTo(100);
                assertThat(memory.device()).isSameAs(rank.device());
                assertThat(Emulator.usage(rank.device()).deviceAllocations()).isEqualTo(before + 1);
            }
            assertThat(Emulator.usage(rank.device()).deviceAllocations()).isEqualTo(before);
            assertIllegalArgument(() -> communicator.allocate(0), "0 bytes");
        });
    }
}
