package io.nccl4j.cuda;

import static io.nccl4j.checks.Refusals.assertIllegalState;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorUsage;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Many virtual threads with devices of their own share a few carriers, each of which has one current device. */
@Timeout(120)
class VirtualThreadsTest {
    private static final Duration LIMIT = Duration.ofSeconds(60);

    @Test
    void h4EveryThreadWorksOnItsOwnDeviceAndNothingLeaks() throws Exception {
        EmulatorUsage before = Emulator.usage();
        List<Future<?>> threads = new ArrayList<>();
        try (ExecutorService virtual = Executors.newVirtualThreadPerTaskExecutor()) {
            for (int i = 0; i < 64; i++) {
                int number = i;
                threads.add(virtual.submit(() -> work(number)));
            }
            for (Future<?> thread : threads) {
                thread.get(100, TimeUnit.SECONDS);
            }
        }
        for (int i = 0; i < 8; i++) {
            CudaDevice.of(10 + i).synchronize();
        }
        assertThat(Emulator.usage().leakedSince(before)).isEmpty();
    }

    private static void work(int number) {
        CudaDevice device = CudaDevice.of(10 + number % 8);
        try (CudaStream stream = CudaStream.create(device);
                DeviceMemory memory = DeviceMemory.allocate(device, 4);
                PinnedMemory in = PinnedMemory.allocate(device, 4);
                PinnedMemory out = PinnedMemory.allocate(device, 4);
                CudaEvent event = CudaEvent.create(device)) {
            for (int round = 0; round < 10; round++) {
                in.segment().set(JAVA_INT, 0, number * 100 + round);
                // The wait for this parks, and the thread goes on with another carrier.
                stream.launchHostFunction(() -> sleep(1));
                memory.copyFromAsync(in, 4, stream);
                memory.copyToAsync(out, 4, stream);
                event.record(stream);
                stream.await(LIMIT);
                assertThat(event.isComplete()).isTrue();
                assertThat(out.segment().get(JAVA_INT, 0)).isEqualTo(number * 100 + round);
                stream.launchHostFunction(() -> sleep(1));
                // Closing waits for that.
                DeviceMemory.allocate(device, 64).close();
            }
        }
    }

    private static void sleep(int millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    @Test
    void h4OnlyRelaxedCapturesMayEndOnAnotherCarrier() throws Exception {
        CudaDevice device = CudaDevice.of(10);
        try (ExecutorService virtual = Executors.newVirtualThreadPerTaskExecutor()) {
            virtual.submit(() -> {
                try (CudaStream stream = CudaStream.create(device);
                        DeviceMemory memory = DeviceMemory.allocate(device, 4);
                        CudaGraph graph = stream.capture(() -> memory.fillAsync((byte) 1, stream));
                        CudaGraphExec exec = graph.instantiate()) {
                    exec.launch(stream);
                    stream.await(LIMIT);
                    for (CaptureMode mode : List.of(CaptureMode.GLOBAL, CaptureMode.THREAD_LOCAL)) {
                        assertIllegalState(() -> stream.capture(mode, () -> {
                        }), "on a virtual thread");
                    }
                }
            }).get(20, TimeUnit.SECONDS);
        }
    }

    @Test
    void h4MakeCurrentIsRefusedSinceItWouldChangeTheCarrier() throws Exception {
        try (ExecutorService virtual = Executors.newVirtualThreadPerTaskExecutor()) {
            virtual.submit(() -> assertIllegalState(CudaDevice.of(10)::makeCurrent, "on a virtual thread")).get(20,
                    TimeUnit.SECONDS);
        }
    }
}
