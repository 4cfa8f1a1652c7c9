package io.nccl4j.cuda;

import static io.nccl4j.checks.Refusals.assertIllegalState;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Objects made before a reset are refused, never touched. */
@Timeout(60)
class DeviceResetTest {
    private final CudaDevice device = CudaDevice.of(8);

    @Test
    void h2PinnedMemoryIsClosedByAReset() {
        PinnedMemory pinned = PinnedMemory.allocate(device, 64);
        MemorySegment kept = pinned.segment();
        kept.set(JAVA_BYTE, 0, (byte) 1);
        device.reset();
        assertIllegalState(() -> kept.set(JAVA_BYTE, 0, (byte) 2), "Already closed");
        assertIllegalState(pinned::segment, "was reset");
        pinned.close();
        assertThat(pinned.isClosed()).isTrue();
    }

    @Test
    void h2NothingOfTheTimeBeforeReachesTheRuntime() {
        device.makeCurrent();
        CudaStream stream = CudaStream.create(device);
        CudaEvent event = CudaEvent.create(device);
        DeviceMemory memory = DeviceMemory.allocate(device, 16);
        PinnedMemory pinned = PinnedMemory.allocate(device, 16);
        CudaGraph graph = stream.capture(() -> memory.fillAsync((byte) 1, stream));
        CudaGraphExec exec = graph.instantiate();
        device.reset();
        device.makeCurrent();
        try (CudaStream fresh = CudaStream.create(device); DeviceMemory now = DeviceMemory.allocate(device, 16)) {
            List<Runnable> uses = List.of(() -> exec.launch(fresh), graph::instantiate, () -> event.record(fresh),
                    event::isComplete, event::synchronize, () -> fresh.waitEvent(event), stream::isIdle,
                    stream::synchronize, () -> stream.await(Duration.ofSeconds(1)), () -> stream.capture(() -> {
                    }), () -> now.fillAsync((byte) 1, stream), () -> memory.fillAsync((byte) 1, fresh),
                    () -> now.copyFromAsync(memory, 8, fresh), () -> now.copyFromAsync(pinned, 8, fresh),
                    () -> memory.copyTo(MemorySegment.ofArray(new byte[4])), () -> now.copyToAsync(pinned, 8, fresh),
                    () -> DeviceMemory.allocateAsync(stream, 16));
            for (int i = 0; i < uses.size(); i++) {
                assertThatThrownBy(uses.get(i)::run).as("use %d", i).isInstanceOf(IllegalStateException.class)
                        .hasMessageContaining("was reset");
            }
            now.fillAsync((byte) 4, fresh);
            fresh.await(Duration.ofSeconds(20));
        }
        for (ConfinedResource object : List.of(exec, graph, event, stream)) {
            object.close();
        }
        memory.close();
        pinned.close();
    }
}
