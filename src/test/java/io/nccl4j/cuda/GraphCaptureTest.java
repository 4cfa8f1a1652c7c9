package io.nccl4j.cuda;

import static io.nccl4j.checks.Refusals.assertIllegalState;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class GraphCaptureTest {
    private static final Duration LIMIT = Duration.ofSeconds(10);

    private final CudaDevice device = CudaDevice.of(4);

    @BeforeEach
    void makeDeviceCurrent() {
        device.makeCurrent();
    }

    @Test
    void aReplayReadsWhatIsThereThen() {
        try (CudaStream stream = CudaStream.create(device);
                DeviceMemory memory = DeviceMemory.allocate(device, 4);
                PinnedMemory in = PinnedMemory.allocate(device, 4);
                PinnedMemory out = PinnedMemory.allocate(device, 4)) {
            AtomicInteger replays = new AtomicInteger();
            try (CudaGraph graph = stream.capture(() -> {
                memory.copyFromAsync(in, 4, stream);
                stream.launchHostFunction(replays::incrementAndGet);
                memory.copyToAsync(out, 4, stream);
            }); CudaGraphExec exec = graph.instantiate()) {
                assertThat(graph.nodeCount()).isEqualTo(3);
                assertThat(replays).hasValue(0);
                for (int i = 1; i <= 50; i++) {
                    in.segment().set(JAVA_INT, 0, i * 7);
                    exec.launch(stream);
                    stream.await(LIMIT);
                    assertThat(out.segment().get(JAVA_INT, 0)).isEqualTo(i * 7);
                    assertThat(replays).hasValue(i);
                }
            }
        }
    }

    @Test
    void aForkedStreamIsPartOfTheCapture() {
        try (CudaStream main = CudaStream.create(device);
                CudaStream side = CudaStream.create(device);
                DeviceMemory left = DeviceMemory.allocate(device, 4);
                DeviceMemory right = DeviceMemory.allocate(device, 4);
                PinnedMemory out = PinnedMemory.allocate(device, 8);
                CudaEvent fork = CudaEvent.create(device);
                CudaEvent join = CudaEvent.create(device)) {
            CudaGraph graph = main.capture(() -> {
                fork.record(main);
                side.waitEvent(fork);
                assertThat(side.isCapturing()).isTrue();
                right.fillAsync((byte) 2, side);
                left.fillAsync((byte) 1, main);
                join.record(side);
                main.waitEvent(join);
            });
            assertThat(side.isCapturing()).isFalse();
            try (graph; CudaGraphExec exec = graph.instantiate()) {
                assertIllegalState(right::close);
                exec.launch(main);
                main.await(LIMIT);
                left.copyTo(out.segment().asSlice(0, 4));
                right.copyTo(out.segment().asSlice(4, 4));
                assertThat(out.segment().toArray(JAVA_INT)).containsExactly(0x01010101, 0x02020202);
            }
        }
    }

    @Test
    void anUnjoinedForkIsAnErrorWithCudasName() {
        try (CudaStream main = CudaStream.create(device);
                CudaStream side = CudaStream.create(device);
                DeviceMemory memory = DeviceMemory.allocate(device, 4);
                CudaEvent fork = CudaEvent.create(device)) {
            assertThatThrownBy(() -> main.capture(() -> {
                fork.record(main);
                side.waitEvent(fork);
                memory.fillAsync((byte) 2, side);
            })).isInstanceOfSatisfying(CudaException.class, e -> {
                assertThat(e.function()).isEqualTo("cudaStreamEndCapture");
                assertThat(e).hasMessageContaining("cudaErrorStreamCaptureUnjoined");
            });
            assertThat(main.isCapturing()).isFalse();
            assertThat(side.isCapturing()).isFalse();
            memory.fillAsync((byte) 3, main);
            main.await(LIMIT);
        }
    }

}
