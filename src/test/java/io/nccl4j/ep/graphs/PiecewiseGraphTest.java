package io.nccl4j.ep.graphs;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PiecewiseGraph;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatorExtension;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.parallel.ResourceLock;

@Timeout(60)
@ExtendWith(EmulatorExtension.class)
@ResourceLock(EmulatorExtension.LOCK)
class PiecewiseGraphTest {
    private static final Duration LIMIT = Duration.ofSeconds(10);

    private final CudaDevice device = CudaDevice.of(0);

    @Test
    void segmentsRunInOrderWithOneLaunchPerCapturedOne() {
        try (CudaStream stream = CudaStream.create(device)) {
            List<String> ran = new ArrayList<>();
            try (PiecewiseGraph step = PiecewiseGraph.on(stream)
                    .captured("attention", on -> on.launchHostFunction(() -> ran.add("attention")))
                    .eager("dispatch", on -> on.launchHostFunction(() -> ran.add("dispatch")))
                    .captured("experts", on -> on.launchHostFunction(() -> ran.add("experts")))
                    .captured("norm", on -> on.launchHostFunction(() -> ran.add("norm"))).eager("host", on -> {
                        on.await(LIMIT);
                        ran.add("host");
                    }).build()) {
                assertThat(step)
                        .hasToString("PiecewiseGraph[attention, dispatch (eager), experts, norm, host (eager)]");
                assertThat(ran).isEmpty();
                for (int replay = 0; replay < 50; replay++) {
                    long launches = Emulator.callCount("cudaGraphLaunch");
                    step.replay(stream);
                    assertThat(Emulator.callCount("cudaGraphLaunch") - launches).isEqualTo(3);
                    assertThat(ran).containsExactly("attention", "dispatch", "experts", "norm", "host");
                    ran.clear();
                }
            }
        }
    }

    @Test
    void oneSegmentIsCapturedAgainAlone() {
        try (CudaStream stream = CudaStream.create(device);
                PinnedMemory out = PinnedMemory.allocate(device, 8);
                DeviceMemory kept = DeviceMemory.allocate(device, 4)) {
            DeviceMemory former = DeviceMemory.allocate(device, 4);
            DeviceMemory[] target = {former};
            try (PiecewiseGraph step = PiecewiseGraph.on(stream).captured("kept", on -> kept.fillAsync((byte) 7, on))
                    .captured("moved", on -> target[0].fillAsync((byte) 1, on)).eager("read", on -> {
                        kept.copyToAsync(out, 4, on);
                    }).build()) {
                step.replay(stream);
                assertIllegalState(former::close, "CudaGraphExec#");
                try (DeviceMemory later = DeviceMemory.allocate(device, 4)) {
                    target[0] = later;
                    long captures = Emulator.callCount("cudaStreamBeginCapture");
                    step.recapture("moved");
                    assertThat(Emulator.callCount("cudaStreamBeginCapture") - captures).isEqualTo(1);
                    former.close();
                    step.replay(stream);
                    later.copyToAsync(out, 4, stream);
                    stream.await(LIMIT);
                    assertThat(out.segment().get(JAVA_INT, 0)).isEqualTo(0x01010101);

                    assertFailure(UnsupportedOperationException.class, () -> step.recapture("moved", on -> {
                        throw new UnsupportedOperationException("half-way");
                    }));
                    assertThat(stream.isCapturing()).isFalse();
                    step.recapture("moved", on -> later.fillAsync((byte) 2, on));
                    // A later capture without a body of its own keeps the newest one.
                    step.recapture("moved");
                    step.replay(stream);
                    later.copyToAsync(out, 4, stream);
                    stream.await(LIMIT);
                    assertThat(out.segment().get(JAVA_INT, 0)).isEqualTo(0x02020202);
                    step.recapture("moved", on -> kept.fillAsync((byte) 8, on));
                }
                step.replay(stream);
                stream.await(LIMIT);
                assertThat(out.segment().get(JAVA_INT, 0)).isEqualTo(0x08080808);
                assertIllegalArgument(() -> step.recapture("read"), "\"read\" is eager");
                assertIllegalArgument(() -> step.recapture("none"), "no segment \"none\"", "kept, moved, read (eager)");
            }
        }
    }

    @Test
    void whatCannotBeBuiltLeavesNothing() {
        try (CudaStream stream = CudaStream.create(device); DeviceMemory memory = DeviceMemory.allocate(device, 4)) {
            PiecewiseGraph.Builder builder = PiecewiseGraph.on(stream).captured("fill",
                    on -> memory.fillAsync((byte) 1, on));
            assertIllegalArgument(() -> builder.eager("fill", on -> {
            }), "two segments \"fill\"");
            long execs = Emulator.usage(device).graphExecs();
            builder.captured("wait", CudaStream::synchronize);
            assertIllegalState(builder::build, "CudaStream.synchronize cannot be captured");
            assertThat(Emulator.usage(device).graphExecs()).isEqualTo(execs);
            assertThat(stream.isCapturing()).isFalse();

            PiecewiseGraph step = PiecewiseGraph.on(stream).captured("fill", on -> memory.fillAsync((byte) 1, on))
                    .build();
            step.close();
            step.close();
            assertIllegalState(() -> step.replay(stream), "(closed)");
            assertIllegalState(() -> step.recapture("fill"));
        }
    }

    @Test
    void aReplayMayBeOnAnotherStreamButNotInsideACapture() {
        try (CudaStream stream = CudaStream.create(device);
                CudaStream other = CudaStream.create(device);
                DeviceMemory memory = DeviceMemory.allocate(device, 4);
                PinnedMemory out = PinnedMemory.allocate(device, 4);
                PiecewiseGraph step = PiecewiseGraph.on(stream).captured("fill", on -> memory.fillAsync((byte) 3, on))
                        .eager("copy", on -> memory.copyToAsync(out, 4, on)).build()) {
            step.replay(other);
            other.await(LIMIT);
            assertThat(out.segment().get(JAVA_INT, 0)).isEqualTo(0x03030303);
            out.segment().fill((byte) 0);
            assertIllegalState(() -> other.capture(() -> step.replay(other)), "CudaGraphExec#", "which is capturing");
            step.replay(stream);
            stream.await(LIMIT);
            assertThat(out.segment().get(JAVA_INT, 0)).isEqualTo(0x03030303);
        }
    }
}
