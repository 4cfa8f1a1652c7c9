package io.nccl4j.benchmarks.layer;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.LongStream;
import org.jspecify.annotations.Nullable;

/** The token tensors of a layer and the scales beside them: those of its buffers, or quantised ones in their place. */
final class QuantisedTensors implements AutoCloseable {
    private final CudaDevice device;
    private final List<DeviceMemory> memories = new ArrayList<>();
    private final EpTensor sent;
    private final EpTensor received;
    private final @Nullable EpTensor sentScales;
    private final @Nullable EpTensor receivedScales;
    private final @Nullable EpTensor combineScales;

    QuantisedTensors(LayerShape shape, EpBuffers buffers, CudaDevice device) {
        this.device = device;
        Payload payload = shape.payload();
        long hidden = shape.hidden();
        long scales = Payload.scales(shape.hidden());
        sent = payload.sendsScales() ? tensor(DataType.FLOAT8_E4M3, shape.tokens(), hidden) : buffers.tokens();
        sentScales = payload.sendsScales() ? tensor(DataType.FLOAT32, shape.tokens(), scales) : null;
        long[] rows = buffers.received().shape();
        received = payload.receivesScales()
                ? tensor(DataType.FLOAT8_E4M3, withLast(rows, hidden))
                : buffers.received();
        receivedScales = payload.receivesScales() ? tensor(DataType.FLOAT32, withLast(rows, scales)) : null;
        combineScales = payload == Payload.NVFP4 ? tensor(DataType.FLOAT32, withLast(rows, 1)) : null;
        if (combineScales != null) {
            fill(combineScales, 1);
        }
    }

    private static long[] withLast(long[] shape, long last) {
        long[] changed = shape.clone();
        changed[changed.length - 1] = last;
        return changed;
    }

    private EpTensor tensor(DataType type, long... shape) {
        DeviceMemory memory = DeviceMemory.allocate(device,
                type.bytes(LongStream.of(shape).reduce(1, Math::multiplyExact)));
        memories.add(memory);
        return EpTensor.of(memory, type, shape);
    }

    private static void fill(EpTensor tensor, float value) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment values = arena.allocate(tensor.byteSize());
            for (long i = 0; i < values.byteSize() / Float.BYTES; i++) {
                values.setAtIndex(JAVA_FLOAT, i, value);
            }
            tensor.memory().copyFrom(values);
        }
    }

    EpTensor sent() {
        return sent;
    }

    @Nullable
    EpTensor sentScales() {
        return sentScales;
    }

    EpTensor received() {
        return received;
    }

    @Nullable
    EpTensor receivedScales() {
        return receivedScales;
    }

    @Nullable
    EpTensor combineScales() {
        return combineScales;
    }

    @Override
    public void close() {
        memories.forEach(DeviceMemory::close);
    }
}
