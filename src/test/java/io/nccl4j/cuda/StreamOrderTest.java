package io.nccl4j.cuda;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.checks.Condition;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.IntStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class StreamOrderTest {
    private final CudaDevice device = CudaDevice.of(3);

    @BeforeEach
    void makeDeviceCurrent() {
        device.makeCurrent();
    }

    @Test
    void copiesArriveInOrder() {
        try (CudaStream stream = CudaStream.create(device);
                DeviceMemory memory = DeviceMemory.allocate(device, 64);
                PinnedMemory in = PinnedMemory.allocate(device, 64);
                PinnedMemory out = PinnedMemory.allocate(device, 64)) {
            for (int i = 0; i < 16; i++) {
                in.segment().setAtIndex(JAVA_INT, i, i * i);
            }
            memory.fillAsync((byte) -1, stream);
            memory.copyFromAsync(in, 32, stream);
            memory.copyToAsync(out, 64, stream);
            stream.await(Duration.ofSeconds(10));
            assertThat(out.segment().toArray(JAVA_INT)).containsExactly(0, 1, 4, 9, 16, 25, 36, 49, -1, -1, -1, -1, -1,
                    -1, -1, -1);
        }
    }

    /** Its own device has nothing to wait for. */
    @Test
    void memoryOfAnotherDeviceIsFreedWhenItsLastCopyIsDone() throws InterruptedException {
        CudaDevice other = CudaDevice.of(2);
        try (CudaStream stream = CudaStream.create(device); PinnedMemory out = PinnedMemory.allocate(device, 64)) {
            DeviceMemory memory = DeviceMemory.allocate(other, 128);
            DeviceMemory part = memory.slice(64, 64);
            part.copyFrom(out.segment().fill((byte) 7));
            out.segment().fill((byte) 0);
            Gate gate = Gate.on(stream);
            part.copyToAsync(out, 64, stream);
            part.close();
            Thread closing = Thread.ofPlatform().start(memory::close);
            Condition.await("the close waits", () -> closing.getState() == Thread.State.TIMED_WAITING);
            gate.open();
            closing.join();
            stream.await(Duration.ofSeconds(10));
            assertThat(out.segment().toArray(JAVA_BYTE)).containsOnly(7);
        }
    }

    /** Closing it, and then what it uses, is the same as where it was captured. */
    @Test
    void aGraphIsClosedWhenItsLaunchOnAnotherDeviceIsDone() throws InterruptedException {
        CudaDevice other = CudaDevice.of(2);
        try (CudaStream stream = CudaStream.create(device); CudaStream elsewhere = CudaStream.create(other)) {
            PinnedMemory out = PinnedMemory.allocate(device, 64);
            DeviceMemory memory = DeviceMemory.allocate(device, 64);
            CudaGraphExec exec;
            try (CudaGraph graph = stream.capture(() -> memory.copyToAsync(out, 64, stream))) {
                exec = graph.instantiate();
            }
            Gate gate = other.call(() -> Gate.on(elsewhere));
            other.run(() -> exec.launch(elsewhere));
            Thread closing = Thread.currentThread();
            Thread opening = Thread.ofPlatform().start(() -> {
                Condition.await("the close waits", () -> closing.getState() == Thread.State.TIMED_WAITING);
                gate.open();
            });
            exec.close();
            assertThat(elsewhere.isIdle()).isTrue();
            memory.close();
            out.close();
            opening.join();
        }
    }

    @Test
    void blockingCopiesRoundTrip() {
        try (DeviceMemory memory = DeviceMemory.allocate(device, 1 << 20); Arena arena = Arena.ofConfined()) {
            MemorySegment in = arena.allocate(1 << 20);
            for (long i = 0; i < in.byteSize(); i++) {
                in.set(JAVA_BYTE, i, (byte) (i * 31));
            }
            MemorySegment out = arena.allocate(1 << 20);
            memory.copyFrom(in);
            memory.copyTo(out);
            assertThat(out.mismatch(in)).isEqualTo(-1);
        }
    }

    @Test
    void hostFunctionsRunBetweenTheWorkAroundThem() {
        List<Integer> order = new CopyOnWriteArrayList<>();
        try (CudaStream stream = CudaStream.create(device)) {
            IntStream.range(0, 100).forEach(i -> stream.launchHostFunction(() -> order.add(i)));
            stream.await(Duration.ofSeconds(10));
        }
        assertThat(order).isEqualTo(IntStream.range(0, 100).boxed().toList());
    }

    @Test
    void anEventOrdersTwoStreams() {
        List<String> order = new CopyOnWriteArrayList<>();
        try (CudaStream first = CudaStream.create(device);
                CudaStream second = CudaStream.create(device);
                CudaEvent event = CudaEvent.create(device)) {
            Gate gate = Gate.on(first);
            first.launchHostFunction(() -> order.add("first"));
            event.record(first);
            second.waitEvent(event);
            second.launchHostFunction(() -> order.add("second"));
            assertThat(event.isComplete()).isFalse();
            assertThat(second.isIdle()).isFalse();
            gate.open();
            second.await(Duration.ofSeconds(10));
            assertThat(event.isComplete()).isTrue();
        }
        assertThat(order).containsExactly("first", "second");
    }

    @Test
    void awaitEndsAtItsLimit() {
        try (CudaStream stream = CudaStream.create(device)) {
            Gate gate = Gate.on(stream);
            assertFailure(WaitTimeoutException.class, () -> stream.await(Duration.ofMillis(20)),
                    "still pending after 20 ms");
            gate.open();
            stream.await(Duration.ofSeconds(10));
        }
    }

    @Test
    void timingEventsMeasure() {
        try (CudaStream stream = CudaStream.create(device);
                CudaEvent start = CudaEvent.createTiming(device);
                CudaEvent end = CudaEvent.createTiming(device);
                CudaEvent plain = CudaEvent.create(device)) {
            start.record(stream);
            stream.launchHostFunction(() -> {
                long until = System.nanoTime() + 5_000_000;
                while (System.nanoTime() < until) {
                    Thread.onSpinWait();
                }
            });
            end.record(stream);
            plain.record(stream);
            end.synchronize();
            assertThat(end.elapsedMillisSince(start)).isBetween(4.9f, 5_000f);
            assertIllegalState(() -> end.elapsedMillisSince(plain), "createTiming");
        }
    }

    @Test
    void theLegacyStreamIsRefused() {
        for (long address : new long[]{0, 1}) {
            assertIllegalArgument(() -> CudaStream.wrap(address, device), "legacy default stream");
        }
    }
}
