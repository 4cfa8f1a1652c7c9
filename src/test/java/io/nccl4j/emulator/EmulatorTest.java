package io.nccl4j.emulator;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraries;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaException;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceAttribute;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.junit.EmulatedRanks;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;

@EmulatedRanks
class EmulatorTest {
    private static final Duration LIMIT = Duration.ofSeconds(20);
    private final CudaDevice device = CudaDevice.of(2);

    @Test
    void isTheBackend() {
        assertThat(Emulator.isInUse()).isTrue();
        assertThat(NativeLibraries.backend()).isEqualTo(Backend.EMULATOR);
        Emulator.use();
    }

    @Test
    void optionsCanBeReadChangedAndReset() {
        EmulatorOptions options = Emulator.options();
        String before = options.get("shuffle");
        options.misuse(MisuseMode.ABORT).poison(true).shuffle(-1).api(EpApi.RELEASE_0_2_0).computeCapability(100)
                .multiprocessors(20).sharedDevices(true).deviceMemory(1 << 30).waitLimit(Duration.ofSeconds(7));
        assertThat(List.of("misuse", "poison", "shuffle", "api", "compute_capability", "sms", "shared_devices",
                "device_memory", "wait_limit_ms")).extracting(options::get)
                .containsExactly("abort", "1", "18446744073709551615", "0.2.0", "100", "20", "1", "1073741824", "7000");
        Emulator.reset();
        assertThat(options.get("shuffle")).isEqualTo(before);
        assertThat(options.get("api")).isEqualTo("2");
        assertThat(options.get("wait_limit_ms")).isEqualTo("0");
    }

    @Test
    void optionsRefuseWhatMakesNoSense() {
        EmulatorOptions options = Emulator.options();
        assertIllegalArgument(() -> options.computeCapability(80), "compute_capability=80");
        assertIllegalArgument(() -> options.multiprocessors(0));
        assertIllegalArgument(() -> options.get("speed"), "does not know the name in option speed");
        int devices = CudaDevice.count();
        options.devices(devices);
        assertIllegalState(() -> options.devices(devices == 1 ? 2 : devices - 1), "CUDA is in use");
    }

    @Test
    void optionsShowInTheDevices() {
        Emulator.options().computeCapability(100).multiprocessors(77).deviceMemory(1 << 30);
        assertThat(device.attribute(DeviceAttribute.COMPUTE_CAPABILITY_MAJOR)).isEqualTo(10);
        assertThat(device.attribute(DeviceAttribute.MULTIPROCESSORS)).isEqualTo(77);
        assertThat(device.memoryInfo().totalBytes()).isEqualTo(1 << 30);
    }

    @Test
    void callsAreLoggedWithTheirArguments() {
        Emulator.logCalls(1000);
        try (DeviceMemory memory = DeviceMemory.allocate(device, 12345)) {
            assertThat(Emulator.describeAddress(memory.address())).contains("12345");
        }
        List<EmulatorCall> calls = Emulator.calls();
        EmulatorCall malloc = calls.stream().filter(call -> call.function().equals("cudaMalloc")).findFirst()
                .orElseThrow();
        assertThat(malloc.argument("size")).isEqualTo("12345");
        assertThat(malloc.device()).isEqualTo(2);
        assertThat(malloc.rank()).isEqualTo(-1);
        assertThat(malloc.succeeded()).isTrue();
        assertThat(malloc.durationNanos()).isNotNegative();
        assertThat(calls).extracting(EmulatorCall::function).contains("cudaFree");
        assertThat(calls).extracting(EmulatorCall::sequence).isSorted().doesNotHaveDuplicates();
        assertThat(Emulator.calls(calls.getLast().sequence())).first().isEqualTo(calls.getLast());
        Emulator.logCalls(0);
        assertThat(Emulator.calls()).isEmpty();
        assertIllegalArgument(() -> Emulator.logCalls(-1));
    }

    @Test
    void manyCallsAreReadInBatches() {
        Emulator.logCalls(2000);
        for (int i = 0; i < 1500; i++) {
            device.makeCurrent();
        }
        assertThat(Emulator.calls()).filteredOn(call -> call.function().equals("cudaSetDevice")).hasSize(1500);
        Emulator.logCalls(10);
        for (int i = 0; i < 15; i++) {
            device.makeCurrent();
        }
        assertThat(Emulator.calls()).hasSize(10);
    }

    @Test
    void callsAreCountedWithoutALog() {
        long before = Emulator.callCount("cudaSetDevice");
        long all = Emulator.callCount();
        device.makeCurrent();
        device.makeCurrent();
        assertThat(Emulator.callCount("cudaSetDevice")).isEqualTo(before + 2);
        assertThat(Emulator.callCount()).isEqualTo(all + 2);
        assertThat(Emulator.callCount("cudaNoSuchFunction")).isZero();
    }

    @Test
    void aPresetResultTakesThePlaceOfTheCall() {
        Emulator.presetResult("cudaMalloc", 2, 1, 2);
        DeviceMemory.allocate(device, 16).close();
        for (int i = 0; i < 2; i++) {
            assertFailure(CudaException.class, () -> DeviceMemory.allocate(device, 16),
                    "cudaErrorMemoryAllocation (2)");
        }
        DeviceMemory.allocate(device, 16).close();
        Emulator.presetResult("cudaMalloc", 2);
        Emulator.clearPresets();
        DeviceMemory.allocate(device, 16).close();
    }

    @Test
    void presetsRefuseWhatMakesNoSense() {
        assertIllegalArgument(() -> Emulator.presetResult("cudaNoSuchFunction", 1),
                "preset result of cudaNoSuchFunction");
        assertIllegalArgument(() -> Emulator.presetResult("cudaMalloc", 1, -1, 1));
        assertIllegalArgument(() -> Emulator.presetResult("cudaMalloc", 1, 0, 0));
    }

    @Test
    void anAllocationCanBeMadeToFail() {
        Emulator.inject(new Fault.FailAllocation(2, 2));
        try (DeviceMemory first = DeviceMemory.allocate(device, 16);
                DeviceMemory elsewhere = DeviceMemory.allocate(CudaDevice.of(3), 16)) {
            assertThat(first.device()).isNotSameAs(elsewhere.device());
            assertFailure(CudaException.class, () -> PinnedMemory.allocate(device, 16), "cudaErrorMemoryAllocation");
            PinnedMemory.allocate(device, 16).close();
        }
    }

    @Test
    void aFailedLaunchLosesTheDeviceUntilItIsReset() {
        CudaStream stream = CudaStream.create(device);
        DeviceMemory memory = DeviceMemory.allocate(device, 16);
        Emulator.inject(new Fault.FailLaunch(2, 1));
        assertFailure(CudaException.class, () -> {
            memory.fillAsync((byte) 1, stream);
            stream.await(LIMIT);
        }, "cudaErrorLaunchFailure");
        assertThat(device.failure()).isNotNull();
        assertThat(Emulator.errorText(device)).isNotEmpty();
        memory.close();
        stream.close();
        device.reset();
        assertThat(device.failure()).isNull();
        assertThat(Emulator.errorText(device)).isEmpty();
        DeviceMemory.allocate(device, 16).close();
    }

    @Test
    void faultsRefuseWhatMakesNoSense() {
        assertIllegalArgument(() -> Emulator.inject(new Fault.FailAllocation(2, 0)), "FailAllocation[device=2, nth=0]");
        Emulator.inject(new Fault.Delay(Fault.ANY, 1, Duration.ofMillis(1)));
        Emulator.inject(new Fault.Silence(0, 1000));
        Emulator.inject(new Fault.EndProcess(0, 1_000_000));
        Emulator.inject(new Fault.DropMessages(0, 1000, 1));
        Emulator.clearFaults();
    }

    @Test
    void theTimelineShowsExecutedWork() {
        Emulator.recordTimeline(100);
        try (CudaStream stream = CudaStream.create(device); DeviceMemory memory = DeviceMemory.allocate(device, 64)) {
            memory.fillAsync((byte) 7, stream);
            stream.await(LIMIT);
            assertThat(Emulator.timeline()).anySatisfy(work -> {
                assertThat(work.stream()).isEqualTo(stream.address());
                assertThat(work.device()).isEqualTo(2);
                assertThat(work.error()).isZero();
                assertThat(work.fromGraph()).isFalse();
                assertThat(work.endNanos()).isGreaterThanOrEqualTo(work.startNanos());
                assertThat(work.operation()).isNotEmpty();
            });
        }
        Emulator.recordTimeline(0);
        assertThat(Emulator.timeline()).isEmpty();
    }

    @Test
    void usageCountsWhatIsAlive() {
        EmulatorUsage before = Emulator.usage();
        EmulatorUsage onDevice = Emulator.usage(device);
        try (CudaStream stream = CudaStream.create(device);
                DeviceMemory memory = DeviceMemory.allocate(device, 1000);
                PinnedMemory pinned = PinnedMemory.allocate(device, 2000)) {
            assertThat(Emulator.usage().leakedSince(before)).containsExactly(
                    "1 device allocations (" + memory.byteSize() + " bytes)",
                    "1 pinned allocations (" + pinned.byteSize() + " bytes)", "1 streams");
            assertThat(Emulator.usage(device).streams()).isEqualTo(onDevice.streams() + 1);
            assertThat(stream.device()).isSameAs(device);
        }
        assertThat(Emulator.usage().leakedSince(before)).isEmpty();
    }

    @Test
    void theEnvironmentInsideCanBeSet() {
        Emulator.environment("NCCL_EP_TEST", "1");
        Emulator.environment("NCCL_EP_TEST", null);
        assertIllegalArgument(() -> Emulator.environment("A=B", "1"), "environment A=B");
        assertIllegalArgument(() -> Emulator.environment("", "1"));
    }

    @Test
    void addressesAreExplained() {
        DeviceMemory memory = DeviceMemory.allocate(device, 777);
        long address = memory.address();
        assertThat(Emulator.describeAddress(address + 5)).contains("777");
        memory.close();
        assertThat(Emulator.describeAddress(address + 5)).contains("freed");
        assertThat(Emulator.describeAddress(16)).isNotEmpty();
    }
}
