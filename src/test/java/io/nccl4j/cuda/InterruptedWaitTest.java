package io.nccl4j.cuda;

import static io.nccl4j.checks.Refusals.assertFailure;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.nccl4j.checks.Condition;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorUsage;
import java.time.Duration;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** An interrupt ends a wait that concerns this thread alone, and no close. */
@Timeout(60)
class InterruptedWaitTest {
    private static final Duration LIMIT = Duration.ofSeconds(20);

    private final CudaDevice device = CudaDevice.of(7);

    @BeforeEach
    void makeDeviceCurrent() {
        device.makeCurrent();
    }

    @AfterEach
    void clearTheFlag() {
        Thread.interrupted();
    }

    @Test
    void r3AnInterruptedWaitEndsAtOnceAndLosesNothing() {
        try (CudaStream stream = CudaStream.create(device); DeviceMemory memory = DeviceMemory.allocate(device, 4)) {
            Gate gate = Gate.on(stream);
            memory.fillAsync((byte) 1, stream);
            Thread.currentThread().interrupt();
            long asked = Emulator.callCount("cudaStreamQuery");
            assertFailure(CancellationException.class, () -> stream.await(LIMIT),
                    "interrupted while waiting for work on CudaStream#");
            assertThat(Emulator.callCount("cudaStreamQuery") - asked).isEqualTo(1);
            assertThat(Thread.interrupted()).isTrue();
            gate.close();
            stream.await(LIMIT);
            try (PinnedMemory out = PinnedMemory.allocate(device, 4)) {
                memory.copyTo(out.segment());
                assertThat(out.segment().get(java.lang.foreign.ValueLayout.JAVA_INT, 0)).isEqualTo(0x01010101);
            }
        }
    }

    @Test
    void r3AnInterruptDuringTheWaitEndsIt() throws Exception {
        try (CudaStream stream = CudaStream.create(device)) {
            Gate gate = Gate.on(stream);
            FutureTask<Boolean> waits = new FutureTask<>(() -> {
                Throwable thrown = catchThrowable(() -> stream.await(LIMIT));
                return thrown instanceof CancellationException && Thread.currentThread().isInterrupted();
            });
            Thread waiter = Thread.ofPlatform().start(waits);
            Condition.await("the wait", () -> waiter.getState() == Thread.State.TIMED_WAITING);
            waiter.interrupt();
            assertThat(waits.get(20, TimeUnit.SECONDS)).isTrue();
            gate.close();
        }
    }

    @Test
    void r3WithoutPendingWorkTheFlagChangesNothing() {
        try (CudaStream stream = CudaStream.create(device)) {
            Thread.currentThread().interrupt();
            stream.await(LIMIT);
            assertThat(Thread.interrupted()).isTrue();
        }
    }

    /** A close waits whatever the flag says, and parks: some hundred questions, not a hundred thousand. */
    @Test
    void r2AnInterruptedThreadClosesEverything() throws Exception {
        EmulatorUsage before = Emulator.usage();
        CudaStream stream = CudaStream.create(device);
        DeviceMemory memory = DeviceMemory.allocate(device, 1 << 20);
        PinnedMemory pinned = PinnedMemory.allocate(device, 64);
        CudaEvent event = CudaEvent.create(device);
        CudaGraph graph = stream.capture(() -> memory.fillAsync((byte) 1, stream));
        CudaGraphExec exec = graph.instantiate();
        Gate gate = Gate.on(stream);
        exec.launch(stream);
        CountDownLatch closing = new CountDownLatch(1);
        Thread opener = Thread.ofPlatform().start(() -> {
            try {
                closing.await();
                // Long enough for a spinning close to ask very often.
                Thread.sleep(300);
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            }
            gate.close();
        });
        long asked = Emulator.callCount("cudaEventQuery");
        Thread.currentThread().interrupt();
        closing.countDown();
        for (AutoCloseable object : new AutoCloseable[]{exec, graph, event, pinned, memory, stream}) {
            object.close();
            assertThat(Thread.currentThread().isInterrupted()).as("after close of %s", object).isTrue();
        }
        assertThat(Thread.interrupted()).isTrue();
        opener.join();
        assertThat(Emulator.callCount("cudaEventQuery") - asked).isLessThan(5_000);
        device.synchronize();
        assertThat(Emulator.usage().leakedSince(before)).isEmpty();
    }
}
