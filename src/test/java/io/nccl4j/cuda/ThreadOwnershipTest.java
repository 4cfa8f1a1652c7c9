package io.nccl4j.cuda;

import static io.nccl4j.checks.Refusals.assertIllegalState;
import static io.nccl4j.checks.Refusals.assertThrown;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.nccl4j.emulator.Emulator;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Streams, events, graphs and executables belong to one thread; waiting and asking is for all. */
@Timeout(60)
class ThreadOwnershipTest {
    private static final Duration LIMIT = Duration.ofSeconds(20);

    private final CudaDevice device = CudaDevice.of(6);
    private final ExecutorService other = Executors
            .newSingleThreadExecutor(Thread.ofPlatform().name("the other").factory());
    private CudaStream stream;
    private CudaEvent event;
    private DeviceMemory memory;
    private CudaGraph graph;
    private CudaGraphExec exec;

    @BeforeEach
    void makeObjects() throws Exception {
        device.makeCurrent();
        other.submit(device::makeCurrent).get();
        stream = CudaStream.create(device);
        event = CudaEvent.createTiming(device);
        memory = DeviceMemory.allocate(device, 16);
        graph = stream.capture(() -> memory.fillAsync((byte) 1, stream));
        exec = graph.instantiate();
    }

    @AfterEach
    void closeObjects() {
        for (ConfinedResource object : List.of(exec, graph, event, stream)) {
            if (!object.isClosed()) {
                object.bindToCurrentThread();
                object.close();
            }
        }
        memory.close();
        other.shutdown();
    }

    private <T> T onTheOther(Callable<T> body) throws Exception {
        return other.submit(body).get(LIMIT.toSeconds(), TimeUnit.SECONDS);
    }

    @Test
    void r9AnotherThreadIsRefusedInWords() throws Exception {
        Map<String, Runnable> calls = new LinkedHashMap<>();
        calls.put("CudaEvent.record", () -> event.record(stream));
        calls.put("CudaStream.waitEvent", () -> stream.waitEvent(event));
        calls.put("CudaStream.launchHostFunction", () -> stream.launchHostFunction(() -> {
        }));
        calls.put("CudaStream.capture", () -> stream.capture(() -> {
        }));
        calls.put("DeviceMemory.allocateAsync", () -> DeviceMemory.allocateAsync(stream, 16));
        calls.put("a fill on a stream", () -> memory.fillAsync((byte) 2, stream));
        calls.put("a copy on a stream", () -> memory.copyFromAsync(memory, 8, stream));
        calls.put("CudaGraphExec.launch", () -> exec.launch(stream));
        calls.put("CudaGraphExec.upload", () -> exec.upload(stream));
        calls.put("CudaGraph.instantiate", graph::instantiate);
        calls.put("CudaGraph.nodeCount", graph::nodeCount);
        calls.put("CudaEvent.elapsedMillisSince", () -> event.elapsedMillisSince(event));
        calls.put("close of CudaStream#", stream::close);
        calls.put("close of CudaEvent#", event::close);
        calls.put("close of CudaGraph#", graph::close);
        calls.put("close of CudaGraphExec#", exec::close);
        String owner = "it belongs to thread " + Thread.currentThread().getName();
        for (Map.Entry<String, Runnable> call : calls.entrySet()) {
            Throwable thrown = onTheOther(() -> catchThrowable(call.getValue()::run));
            assertThat(thrown).as(call.getKey()).isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining(call.getKey()).hasMessageContaining("by thread the other")
                    .hasMessageContaining(owner).hasMessageContaining("bindToCurrentThread");
        }
        exec.launch(stream);
        stream.await(LIMIT);
    }

    @Test
    void r9BoundToAnotherThreadTheyServeThatOne() throws Exception {
        onTheOther(() -> {
            List.of(exec, graph, event, stream).forEach(ConfinedResource::bindToCurrentThread);
            exec.launch(stream);
            event.record(stream);
            stream.await(LIMIT);
            return null;
        });
        assertIllegalState(() -> exec.launch(stream), "it belongs to thread the other");
        assertThat(event.isComplete()).isTrue();
        onTheOther(() -> {
            List.of(exec, graph, event, stream).forEach(ConfinedResource::close);
            return null;
        });
        assertThat(stream.isClosed()).isTrue();
        assertIllegalState(stream::bindToCurrentThread, "is closed");
    }

    @Test
    void r9AnyThreadMayWaitAndAsk() throws Exception {
        try (Gate gate = Gate.on(stream)) {
            event.record(stream);
            Future<?> synchronized1 = other.submit(() -> stream.synchronize());
            try (ExecutorService more = Executors.newVirtualThreadPerTaskExecutor()) {
                assertThat(more.submit(() -> stream.isIdle() || event.isComplete()).get()).isFalse();
                Future<?> waits = more.submit(() -> stream.await(LIMIT));
                Future<?> marked = more.submit(event::synchronize);
                gate.close();
                waits.get(20, TimeUnit.SECONDS);
                marked.get(20, TimeUnit.SECONDS);
            }
            synchronized1.get(20, TimeUnit.SECONDS);
        }
        assertThat(stream.isIdle()).isTrue();
    }

    @Test
    void r9AStreamIsNotMovedWhileItIsCaptured() throws Exception {
        stream.capture(() -> {
            memory.fillAsync((byte) 3, stream);
            try {
                assertThrown(IllegalStateException.class, onTheOther(() -> catchThrowable(stream::bindToCurrentThread)),
                        "it is being captured");
                assertThrown(IllegalStateException.class, onTheOther(() -> catchThrowable(stream::isIdle)),
                        "is being captured");
            } catch (Exception e) {
                throw new AssertionError(e);
            }
        }).close();
    }

    /** The native call never meets a destroyed stream: whoever waits is told. */
    @Test
    void r9ClosingWhileAnotherThreadWaitsEndsItsWaitInWords() throws Exception {
        for (int round = 0; round < 40; round++) {
            CudaStream closing = CudaStream.create(device);
            CudaEvent mark = CudaEvent.create(device);
            Gate gate = Gate.on(closing);
            mark.record(closing);
            CountDownLatch waiting = new CountDownLatch(1);
            Future<Throwable> await = other.submit(() -> {
                waiting.countDown();
                return catchThrowable(() -> closing.await(LIMIT));
            });
            waiting.await();
            closing.close();
            mark.close();
            assertThrown(IllegalStateException.class, await.get(20, TimeUnit.SECONDS), "closed");
            gate.close();
        }
        device.synchronize();
    }

    @Test
    void r9AnOwnerThatHasEndedLeavesItsObjectsToWhoeverCloses() throws Exception {
        ConfinedResource[] made = new ConfinedResource[2];
        for (Thread.Builder builder : List.of(Thread.ofPlatform(), Thread.ofVirtual())) {
            Thread thread = builder.start(() -> {
                made[0] = CudaStream.create(device);
                made[1] = CudaEvent.create(device);
            });
            thread.join();
            assertIllegalState(() -> ((CudaEvent) made[1]).record(stream));
            made[1].close();
            made[0].close();
            assertThat(made[0].isClosed() && made[1].isClosed()).isTrue();
        }
    }

    @Test
    void h9DuringAnothersGlobalCaptureClosingIsRefusedAndTheCaptureGoesOn() throws Exception {
        CountDownLatch begun = new CountDownLatch(1);
        Gate tried = new Gate();
        DeviceMemory spare = DeviceMemory.allocate(device, 16);
        Future<Integer> captured = other.submit(() -> {
            try (CudaStream global = CudaStream.create(device);
                    CudaGraph made = global.capture(CaptureMode.GLOBAL, () -> {
                        memory.fillAsync((byte) 3, global);
                        begun.countDown();
                        tried.await();
                    })) {
                return (int) made.nodeCount();
            }
        });
        begun.await();
        long freed = Emulator.callCount("cudaFree");
        for (Runnable call : List.<Runnable>of(spare::close, event::close, () -> DeviceMemory.allocate(device, 16),
                () -> CudaStream.create(device), stream::synchronize, stream::isIdle, event::isComplete,
                () -> PinnedMemory.allocate(device, 16))) {
            assertIllegalState(call::run, "would break a capture in GLOBAL mode", "the other");
        }
        assertThat(spare.isClosed()).isFalse();
        assertThat(Emulator.callCount("cudaFree")).isEqualTo(freed);
        tried.open();
        assertThat(captured.get(20, TimeUnit.SECONDS)).isEqualTo(1);
        spare.close();
        assertThat(Emulator.callCount("cudaFree")).isEqualTo(freed + 1);
    }
}
