package io.nccl4j.guide;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaKernel;
import io.nccl4j.cuda.CudaModule;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.Dim3;
import io.nccl4j.cuda.KernelArguments;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.emulator.Emulator;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** The examples of docs/kernels.md as programs: they run on the emulator, and they are what the guide shows. */
class KernelsGuideTest {
    private static final int ROWS = 4;
    private static final int HIDDEN = 8;

    /** Batches of 1, 2, ... rows. */
    private static final class Batches {
        private final PinnedMemory next;
        private int batch;

        Batches(PinnedMemory next) {
            this.next = next;
        }

        boolean nextBatch(DeviceMemory count, CudaStream stream) {
            stream.await(Duration.ofSeconds(10));
            next.segment().set(JAVA_INT, 0, ++batch);
            count.copyFromAsync(next, Integer.BYTES, stream);
            return batch <= ROWS;
        }
    }

    @Test
    void kernelsInACapture() {
        // example emulator
        Emulator.kernel("scaleRows", FunctionDescriptor.ofVoid(ADDRESS, ADDRESS, JAVA_FLOAT, JAVA_INT), launch -> {
            int inUse = Math.min(launch.memory(1, JAVA_INT, 1).get(JAVA_INT, 0), launch.grid().x());
            int length = launch.getInt(3);
            MemorySegment values = launch.memory(0, JAVA_FLOAT, (long) inUse * length);
            for (long i = 0; i < (long) inUse * length; i++) {
                values.setAtIndex(JAVA_FLOAT, i, values.getAtIndex(JAVA_FLOAT, i) * launch.getFloat(2));
            }
        });
        // end
        CudaDevice device = CudaDevice.of(4);
        device.makeCurrent();
        try (CudaStream stream = CudaStream.create(device);
                DeviceMemory rows = DeviceMemory.allocate(device, ROWS * HIDDEN * Float.BYTES);
                DeviceMemory count = DeviceMemory.allocate(device, Integer.BYTES);
                PinnedMemory next = PinnedMemory.allocate(device, Integer.BYTES);
                PinnedMemory values = PinnedMemory.allocate(device, rows.byteSize())) {
            for (int i = 0; i < ROWS * HIDDEN; i++) {
                values.segment().setAtIndex(JAVA_FLOAT, i, 2);
            }
            rows.copyFrom(values.segment());
            next.segment().set(JAVA_INT, 0, ROWS);
            count.copyFrom(next.segment());
            run(device, stream, rows, count, new Batches(next));
            rows.copyTo(values.segment());
            // Halved once, then row r was in ROWS - r batches.
            assertThat(IntStream.range(0, ROWS * HIDDEN).mapToObj(i -> values.segment().getAtIndex(JAVA_FLOAT, i))
                    .toList())
                    .isEqualTo(IntStream.range(0, ROWS * HIDDEN).mapToObj(i -> (float) Math.pow(3, ROWS - i / HIDDEN))
                            .toList());
        }
    }

    private static void run(CudaDevice device, CudaStream stream, DeviceMemory rows, DeviceMemory count,
            Batches server) {
        byte[] image = ".version 9.0\n.target sm_90\n".getBytes(StandardCharsets.US_ASCII);
        int maxRows = ROWS;
        int hidden = HIDDEN;
        // example launch
        try (CudaModule module = CudaModule.load(device, image)) {
            CudaKernel scaleRows = module.kernel("scaleRows");
            KernelArguments arguments = scaleRows.arguments() // made once
                    .setAddress(0, rows).setAddress(1, count).setFloat(2, 0.5f).setInt(3, hidden);
            scaleRows.launch(stream, Dim3.of(maxRows), Dim3.of(128), arguments);

            // A captured launch keeps the values of its capture. The count is read from the device at each replay.
            try (CudaGraph graph = stream.capture(
                    () -> scaleRows.launch(stream, Dim3.of(maxRows), Dim3.of(128), arguments.setFloat(2, 3.0f)));
                    CudaGraphExec step = graph.instantiate()) {
                while (server.nextBatch(count, stream)) {
                    step.launch(stream);
                }
                stream.await(Duration.ofSeconds(10));
            }
        }
        // end
    }
}
