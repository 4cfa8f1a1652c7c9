package io.nccl4j.ep;

import io.nccl4j.cuda.CloseLimit;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.internal.NativeResource;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.Window;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The allocations of an {@link EpBuffers}: all or nothing. */
final class BufferMemory {
    private static final int SLICE_ALIGNMENT = 256;

    private final EpGroup group;
    private final List<DeviceMemory> memories = new ArrayList<>();
    private final List<DeviceMemory> parts = new ArrayList<>();
    private final List<Window> windows = new ArrayList<>();

    final EpTensor routing;
    final EpTensor tokens;
    final EpTensor weights;
    final EpTensor received;
    final @Nullable EpTensor receivedWeights;
    final @Nullable EpTensor receivedIndices;
    final EpTensor expertOutputs;
    final EpTensor combined;
    final EpTensor counts;
    final @Nullable EpTensor offsets;
    final @Nullable EpTensor total;

    BufferMemory(EpGroup group, BufferShapes shapes) {
        this.group = group;
        boolean done = false;
        try {
            routing = allocate(DataType.INT64, shapes.routing());
            tokens = allocate(shapes.type(), shapes.tokens());
            weights = allocate(DataType.FLOAT32, shapes.weights());
            if (group.config().algorithm() == Algorithm.HIGH_THROUGHPUT) {
                long bytes = EpSizing.alignUp(BufferShapes.bytes(shapes.type(), shapes.received()), SLICE_ALIGNMENT);
                Window window = window(2 * bytes);
                received = part(window, 0, bytes, shapes);
                expertOutputs = part(window, bytes, bytes, shapes);
            } else {
                received = allocate(shapes.type(), shapes.received());
                expertOutputs = allocate(shapes.type(), shapes.received());
            }
            receivedWeights = optional(DataType.FLOAT32, shapes.receivedWeights());
            receivedIndices = optional(shapes.indexType(), shapes.receivedIndices());
            combined = allocate(shapes.type(), shapes.tokens());
            counts = allocate(DataType.INT32, shapes.counts());
            offsets = optional(DataType.INT32, shapes.offsets());
            total = optional(DataType.INT32, shapes.total());
            clearRouting();
            done = true;
        } finally {
            if (!done) {
                close();
            }
        }
    }

    /** What lies in new memory is no routing: a step before the first one is written routes nothing. */
    private void clearRouting() {
        try (CudaStream stream = CudaStream.create(group.device())) {
            routing.memory().fillAsync((byte) -1, stream);
            stream.await(CloseLimit.get());
        }
    }

    private EpTensor allocate(DataType type, long[] shape) {
        DeviceMemory memory = DeviceMemory.allocate(group.device(), BufferShapes.bytes(type, shape));
        memories.add(memory);
        return EpTensor.of(memory, type, shape);
    }

    private @Nullable EpTensor optional(DataType type, long[] shape) {
        return shape.length == 0 ? null : allocate(type, shape);
    }

    private EpTensor part(Window window, long offset, long bytes, BufferShapes shapes) {
        DeviceMemory memory = window.memory().slice(offset, bytes);
        parts.add(memory);
        return EpTensor.inWindow(window.slice(offset, bytes), memory, shapes.type(), shapes.received());
    }

    private Window window(long bytes) {
        DeviceMemory memory = group.communicator().allocate(bytes);
        memories.add(memory);
        Window window = group.communicator().register(memory);
        windows.add(window);
        return window;
    }

    /** Everything that was allocated, in the order in which it can be closed. */
    List<NativeResource> resources() {
        List<NativeResource> all = new ArrayList<>(windows);
        all.addAll(parts);
        all.addAll(memories);
        return all;
    }

    /** The tensors of the buffers that are not there in every layout, and those that are. */
    List<@Nullable EpTensor> tensors() {
        List<@Nullable EpTensor> all = new ArrayList<>(
                List.of(routing, tokens, weights, received, expertOutputs, combined, counts));
        all.add(receivedWeights);
        all.add(receivedIndices);
        all.add(offsets);
        all.add(total);
        return all;
    }

    /** Gives everything back; what cannot be given back does not keep the rest. */
    void close() {
        RuntimeException first = null;
        for (NativeResource resource : resources()) {
            try {
                resource.close();
            } catch (RuntimeException e) {
                if (first == null) {
                    first = e;
                } else {
                    first.addSuppressed(e);
                }
            }
        }
        if (first != null) {
            throw first;
        }
    }
}
