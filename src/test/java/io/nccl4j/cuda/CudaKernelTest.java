package io.nccl4j.cuda;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.checks.StepCost;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.KernelLaunch;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class CudaKernelTest {
    private static final byte[] PTX = ".version 9.0\n.target sm_90\n".getBytes(StandardCharsets.US_ASCII);
    private static final Duration LIMIT = Duration.ofSeconds(20);
    private static final int COUNT = 1000;
    private static final List<String> SEEN = new CopyOnWriteArrayList<>();

    private final CudaDevice device = CudaDevice.of(2);
    private CudaModule module;
    private CudaStream stream;

    @BeforeAll
    static void registerKernels() {
        Emulator.kernel("vectorAdd", FunctionDescriptor.ofVoid(ADDRESS, ADDRESS, ADDRESS, JAVA_INT),
                CudaKernelTest::vectorAdd);
        Emulator.kernel("sizes",
                FunctionDescriptor.ofVoid(JAVA_BYTE, JAVA_SHORT, JAVA_INT, JAVA_DOUBLE, JAVA_FLOAT,
                        MemoryLayout.structLayout(JAVA_INT, JAVA_INT, JAVA_INT)),
                launch -> SEEN.add(launch.getByte(0) + " " + launch.getShort(1) + " " + launch.getInt(2) + " "
                        + launch.getDouble(3) + " " + launch.getFloat(4) + " "
                        + launch.getBytes(5).getAtIndex(JAVA_INT, 2) + " " + launch.grid() + " " + launch.block() + " "
                        + launch.sharedBytes() + " " + launch.device() + " " + launch.isReplay()));
        Emulator.kernel("noParameters", FunctionDescriptor.ofVoid(), launch -> SEEN.add("none"));
        Emulator.kernel("throwing", FunctionDescriptor.ofVoid(JAVA_INT), launch -> SEEN.add("" + 1 / launch.getInt(0)));
        Emulator.kernel("fill", FunctionDescriptor.ofVoid(ADDRESS, JAVA_INT),
                launch -> launch.memory(0, launch.getInt(1)).fill((byte) 1));
        Emulator.kernel("callsCuda", FunctionDescriptor.ofVoid(),
                launch -> SEEN.add("" + CudaRuntime.cudaDeviceSynchronize()));
    }

    /** The count is read from the device: what a replay adds depends on what is there then. */
    private static void vectorAdd(KernelLaunch launch) {
        int n = launch.getInt(3);
        MemorySegment a = launch.memory(0, JAVA_FLOAT, n);
        MemorySegment b = launch.memory(1, JAVA_FLOAT, n);
        MemorySegment sum = launch.memory(2, JAVA_FLOAT, n);
        for (int i = 0; i < n; i++) {
            sum.setAtIndex(JAVA_FLOAT, i, a.getAtIndex(JAVA_FLOAT, i) + b.getAtIndex(JAVA_FLOAT, i));
        }
    }

    @BeforeEach
    void load() {
        device.makeCurrent();
        SEEN.clear();
        module = CudaModule.load(device, PTX);
        stream = CudaStream.create(device);
    }

    @AfterEach
    void close() {
        stream.close();
        module.close();
        if (device.failure() != null) {
            device.reset();
        }
    }

    private void launch(CudaKernel kernel, KernelArguments arguments) {
        kernel.launch(stream, Dim3.of(1), Dim3.of(1), arguments);
    }

    private DeviceMemory floats(int factor) {
        DeviceMemory memory = DeviceMemory.allocate(device, 4L * COUNT);
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment values = arena.allocate(JAVA_FLOAT, COUNT);
            for (int i = 0; i < COUNT; i++) {
                values.setAtIndex(JAVA_FLOAT, i, factor * i);
            }
            memory.copyFrom(values);
        }
        return memory;
    }

    private static void expect(DeviceMemory memory, int factor) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment values = arena.allocate(JAVA_FLOAT, COUNT);
            memory.copyTo(values);
            for (int i = 0; i < COUNT; i++) {
                assertThat(values.getAtIndex(JAVA_FLOAT, i)).isEqualTo(factor * i);
            }
        }
    }

    @Test
    void addsInStreamOrder() {
        CudaKernel kernel = module.kernel("vectorAdd");
        try (DeviceMemory a = floats(1); DeviceMemory b = floats(2); DeviceMemory sum = floats(0)) {
            KernelArguments arguments = kernel.arguments().setAddress(0, a).setAddress(1, b).setAddress(2, sum)
                    .setInt(3, COUNT);
            kernel.launch(stream, Dim3.of(4), Dim3.of(256), arguments);
            // 2 + 3 and 3 + 5 of the same argument object, changed in place.
            kernel.launch(stream, Dim3.of(4), Dim3.of(256), arguments.setAddress(0, sum).setAddress(2, a));
            stream.await(LIMIT);
            expect(sum, 3);
            expect(a, 5);
        }
    }

    @Test
    void replaysKeepTheValuesOfTheirCapture() {
        CudaKernel kernel = module.kernel("vectorAdd");
        try (DeviceMemory a = floats(1); DeviceMemory b = floats(2); DeviceMemory sum = floats(0)) {
            KernelArguments arguments = kernel.arguments().setAddress(0, a).setAddress(1, b).setAddress(2, sum)
                    .setInt(3, COUNT);
            try (CudaGraph graph = stream.capture(() -> {
                kernel.launch(stream, Dim3.of(4), Dim3.of(256), arguments);
                kernel.launch(stream, Dim3.of(4), Dim3.of(256), arguments.setAddress(0, sum).setAddress(2, b));
            }); CudaGraphExec exec = graph.instantiate()) {
                arguments.setInt(3, 0);
                expect(sum, 0);
                exec.launch(stream);
                exec.launch(stream);
                stream.await(LIMIT);
                // b is 2, then 1 + 2 + 2 = 5, then 1 + 5 + 5 = 11.
                expect(b, 11);
                assertIllegalState(module::close, "CudaGraph");
                assertIllegalState(sum::close, "CudaGraph");
                assertThat(graph.nodeCount()).isEqualTo(2);
            }
        }
    }

    @Test
    void argumentsOfEverySizeArrive() {
        CudaKernel kernel = module.kernel("sizes");
        assertThat(kernel.parameterCount()).isEqualTo(6);
        assertThat(List.of(0, 1, 2, 3, 4, 5)).map(kernel::parameterSize).containsExactly(1, 2, 4, 8, 4, 12);
        try (Arena arena = Arena.ofConfined()) {
            KernelArguments arguments = kernel.arguments().setByte(0, (byte) -1).setShort(1, (short) -2).setInt(2, -3)
                    .setDouble(3, 0.25).setFloat(4, 1.5f).setBytes(5, arena.allocateFrom(JAVA_INT, 7, 8, 9));
            kernel.launch(stream, Dim3.of(2, 3, 4), Dim3.of(5, 6), 1024, arguments);
            try (CudaGraph graph = stream
                    .capture(() -> kernel.launch(stream, Dim3.of(1), Dim3.of(1, 2, 3), arguments.setInt(2, 3)));
                    CudaGraphExec exec = graph.instantiate()) {
                exec.launch(stream);
                stream.await(LIMIT);
            }
        }
        assertThat(SEEN).containsExactly("-1 -2 -3 0.25 1.5 9 2 × 3 × 4 5 × 6 × 1 1024 2 false",
                "-1 -2 3 0.25 1.5 9 1 × 1 × 1 1 × 2 × 3 0 2 true");
    }

    @Test
    void kernelsWithoutParameters() {
        CudaKernel kernel = module.kernel("noParameters");
        launch(kernel, kernel.arguments());
        stream.await(LIMIT);
        assertThat(SEEN).containsExactly("none");
    }

    @Test
    void namesAreKnown() {
        assertThat(module.kernelNames()).contains("fill", "noParameters", "sizes", "throwing", "vectorAdd").isSorted();
        assertThat(module.kernel("fill")).isSameAs(module.kernel("fill"));
        assertIllegalArgument(() -> module.kernel("vectorSub"), "no kernel 'vectorSub'", "vectorAdd",
                "Emulator.kernel");
        Emulator.kernel("registeredLate", FunctionDescriptor.ofVoid(), launch -> SEEN.add("late"));
        CudaKernel late = module.kernel("registeredLate");
        launch(late, late.arguments());
        stream.await(LIMIT);
        assertThat(SEEN).containsExactly("late");
    }

    @Test
    void wrongArgumentsAreNamedByIndex() {
        CudaKernel kernel = module.kernel("vectorAdd");
        KernelArguments arguments = kernel.arguments();
        assertIllegalArgument(() -> arguments.setInt(1, 4), "parameter 1", "8 bytes", "4 were given");
        assertIllegalArgument(() -> arguments.setLong(3, 4), "parameter 3", "4 bytes", "8 were given");
        assertIllegalArgument(() -> arguments.setInt(4, 1), "has 4");
        assertIllegalArgument(() -> arguments.setInt(-1, 1), "has 4");
        arguments.setLong(1, 8).setInt(3, 1);
        assertIllegalState(() -> launch(kernel, arguments), "parameters [0, 2] were never set");
        arguments.setLong(0, 8);
        assertIllegalState(() -> launch(kernel, arguments), "parameter 2 was never set");
        KernelArguments others = module.kernel("fill").arguments();
        assertIllegalArgument(() -> launch(kernel, others), "another kernel");
    }

    @Test
    void impossibleGeometryIsExplained() {
        CudaKernel kernel = module.kernel("noParameters");
        KernelArguments none = kernel.arguments();
        assertIllegalArgument(() -> Dim3.of(0), "at least 1");
        assertIllegalArgument(() -> kernel.launch(stream, Dim3.of(1), Dim3.of(1025), none), "1025 threads per block",
                "at most 1024");
        assertIllegalArgument(() -> kernel.launch(stream, Dim3.of(1), Dim3.of(1 << 16, 1 << 15, 64), none),
                "at most 1024");
        assertIllegalArgument(() -> kernel.launch(stream, Dim3.of(1), Dim3.of(1, 1, 65), none), "64 threads in z");
        assertIllegalArgument(() -> kernel.launch(stream, Dim3.of(1, 65536), Dim3.of(1), none), "65535");
        assertIllegalArgument(() -> kernel.launch(stream, Dim3.of(1), Dim3.of(1), 49153, none), "0 to 49152",
                "maxDynamicSharedMemory");
        kernel.maxDynamicSharedMemory(100_000);
        kernel.launch(stream, Dim3.of(1), Dim3.of(1), 100_000, none);
        assertIllegalArgument(() -> kernel.maxDynamicSharedMemory(232_449), "0 to 232448");
        assertThat(kernel.maxActiveBlocks(256, 100_000)).isEqualTo(2);
        assertIllegalArgument(() -> kernel.maxActiveBlocks(0, 0), "1 to 1024");
        stream.await(LIMIT);
        assertThat(SEEN).containsExactly("none");
    }

    @Test
    void otherDevicesAndClosedMemoryAreRefused() {
        CudaKernel kernel = module.kernel("fill");
        CudaDevice other = CudaDevice.of(1);
        KernelArguments arguments = kernel.arguments().setInt(1, 16);
        try (DeviceMemory there = DeviceMemory.allocate(other, 64); CudaStream foreign = CudaStream.create(other)) {
            arguments.setAddress(0, there);
            assertIllegalArgument(() -> launch(kernel, arguments), "CUDA device 2", "CUDA device 1");
            assertIllegalArgument(() -> kernel.launch(foreign, Dim3.of(1), Dim3.of(1), arguments),
                    "cannot be launched on");
        }
        DeviceMemory memory = DeviceMemory.allocate(device, 64);
        arguments.setAddress(0, memory);
        memory.close();
        assertIllegalState(() -> launch(kernel, arguments), "is closed");
        CudaDevice.of(0).makeCurrent();
        assertFailure(CudaException.class, () -> module.kernel("noParameters").launch(stream, Dim3.of(1), Dim3.of(1),
                module.kernel("noParameters").arguments()), "noParameters", "CudaDevice.makeCurrent()");
        device.makeCurrent();
        assertThat(CudaRuntime.cudaGetLastError()).isZero();
    }

    @Test
    void aClosedModuleRefusesEverything() {
        CudaModule closed = CudaModule.load(device, PTX);
        CudaKernel kernel = closed.kernel("noParameters");
        KernelArguments none = kernel.arguments();
        closed.close();
        assertIllegalState(() -> launch(kernel, none));
        assertIllegalState(kernel::arguments);
        assertIllegalState(() -> closed.kernel("noParameters"));
        assertIllegalState(closed::kernelNames);
    }

    @Test
    void aRefusedLaunchInACaptureIsReportedAsItself() {
        CudaKernel kernel = module.kernel("noParameters");
        KernelArguments none = kernel.arguments();
        Emulator.presetResult("cudaLaunchKernelExC", CudaRuntime.cudaErrorLaunchOutOfResources());
        assertFailure(CudaException.class, () -> stream.capture(() -> launch(kernel, none)),
                "cudaErrorLaunchOutOfResources", "registers per thread");
        assertThat(CudaRuntime.cudaGetLastError()).isZero();
        launch(kernel, none);
        assertIllegalState(() -> stream.capture(() -> CudaModule.load(device, PTX)), "before the capture");
        stream.await(LIMIT);
        assertThat(SEEN).containsExactly("none");
    }

    @Test
    void anExceptionLosesTheDeviceAndSaysWhy() {
        CudaKernel kernel = module.kernel("throwing");
        launch(kernel, kernel.arguments().setInt(0, 0));
        assertFailure(CudaException.class, () -> stream.await(LIMIT), "cudaErrorLaunchFailure", "throwing",
                "ArithmeticException: / by zero", "CudaKernelTest");
        assertThat(device.failure()).isNotNull();
    }

    @Test
    void aModuleIsGoneWithAReset() {
        CudaKernel kernel = module.kernel("noParameters");
        KernelArguments none = kernel.arguments();
        device.reset();
        try (CudaStream fresh = CudaStream.create(device)) {
            assertIllegalState(() -> kernel.launch(fresh, Dim3.of(1), Dim3.of(1), none), "was reset");
        }
    }

    @Test
    void memoryIsChecked() {
        CudaKernel kernel = module.kernel("fill");
        try (DeviceMemory memory = DeviceMemory.allocate(device, 64)) {
            KernelArguments arguments = kernel.arguments().setAddress(0, memory).setInt(1, 64);
            launch(kernel, arguments);
            stream.await(LIMIT);
            launch(kernel, arguments.setInt(1, 1 << 20));
            assertFailure(CudaException.class, () -> stream.await(LIMIT), "cudaErrorIllegalAddress", "fill",
                    "1048576 bytes");
        }
    }

    @Test
    void kernelsMustNotCallCuda() {
        CudaKernel kernel = module.kernel("callsCuda");
        launch(kernel, kernel.arguments());
        stream.await(LIMIT);
        assertThat(SEEN).containsExactly("" + CudaRuntime.cudaErrorNotPermitted());
    }

    @Test
    void imagesAreLookedAt() {
        assertIllegalArgument(() -> CudaModule.load(device, new byte[0]), "no cubin, fatbin or PTX");
        assertIllegalArgument(() -> CudaModule.load(device, new byte[1000]), "no cubin, fatbin or PTX");
        byte[] fatbin = {0x50, (byte) 0xed, 0x55, (byte) 0xba, 1, 0, 16, 0, 100, 0, 0, 0, 0, 0, 0, 0};
        assertIllegalArgument(() -> CudaModule.load(device, fatbin), "fatbin of 16 bytes is not complete");
        byte[] cubin = ByteBuffer.allocate(64).put(new byte[]{0x7f, 'E', 'L', 'F'}).put(40, (byte) 64)
                .put(58, (byte) 64).put(60, (byte) 1).array();
        assertIllegalArgument(() -> CudaModule.load(device, cubin), "cubin of 64 bytes is not complete");
        long before = Emulator.callCount("cudaLibraryUnload");
        // As a GPU answers: no kernels, and the reason when one is asked for.
        Emulator.presetResult("cudaLibraryGetKernelCount", CudaRuntime.cudaSuccess());
        Emulator.presetResult("cudaLibraryGetKernel", CudaRuntime.cudaErrorNoKernelImageForDevice());
        assertFailure(CudaException.class, () -> CudaModule.load(device, PTX), "cudaErrorNoKernelImageForDevice",
                "compute capability 9.0", "sm_90");
        assertThat(Emulator.callCount("cudaLibraryUnload")).isEqualTo(before + 1);
        assertThat(CudaRuntime.cudaGetLastError()).isZero();
    }

    @Test
    void launchesAllocateNothing() {
        CudaKernel kernel = module.kernel("fill");
        Dim3 one = Dim3.of(1);
        try (DeviceMemory memory = DeviceMemory.allocate(device, 64)) {
            KernelArguments arguments = kernel.arguments().setAddress(0, memory);
            int[] count = {0};
            StepCost.verify(stream, 1, () -> kernel.launch(stream, one, one, arguments.setInt(1, count[0]++ % 64)));
        }
    }
}
