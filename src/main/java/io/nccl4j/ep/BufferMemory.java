package io.nccl4j.ep;

import io.nccl4j.NativeObject;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.Ownership;
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
    final @Nullable EpTensor scales;
    final EpTensor weights;
    final EpTensor received;
    final @Nullable EpTensor receivedScales;
    final @Nullable EpTensor receivedWeights;
    final @Nullable EpTensor receivedIndices;
    final EpTensor expertOutputs;
    final @Nullable EpTensor outputScales;
    final EpTensor combined;
    final EpTensor counts;
    final @Nullable EpTensor offsets;
    final @Nullable EpTensor total;

    BufferMemory(EpGroup group, BufferShapes shapes) {
        this.group = group;
        boolean done = false;
        try {
            routing = allocate(shapes.routing());
            tokens = allocate(shapes.tokens());
            scales = optional(shapes.scales());
            weights = allocate(shapes.weights());
            TensorShape withRows = shapes.receivedScales();
            if (group.config().algorithm() == Algorithm.HIGH_THROUGHPUT) {
                long scaleBegin = aligned(shapes.received());
                long outputBegin = scaleBegin + (withRows == null ? 0 : aligned(withRows));
                Window window = window(outputBegin + aligned(shapes.outputs()));
                received = part(window, 0, shapes.received());
                receivedScales = withRows == null ? null : part(window, scaleBegin, withRows);
                expertOutputs = part(window, outputBegin, shapes.outputs());
            } else {
                received = allocate(shapes.received());
                receivedScales = optional(withRows);
                expertOutputs = allocate(shapes.outputs());
            }
            outputScales = optional(shapes.outputScales());
            receivedWeights = optional(shapes.receivedWeights());
            receivedIndices = optional(shapes.receivedIndices());
            combined = allocate(shapes.combined());
            counts = allocate(shapes.counts());
            offsets = optional(shapes.offsets());
            total = optional(shapes.total());
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
            stream.await(Deadline.ofClose().remaining());
        }
    }

    private EpTensor allocate(TensorShape shape) {
        DeviceMemory memory = DeviceMemory.allocate(group.device(), shape.bytes());
        memories.add(memory);
        return EpTensor.of(memory, shape.type(), shape.extents());
    }

    private @Nullable EpTensor optional(@Nullable TensorShape shape) {
        return shape == null ? null : allocate(shape);
    }

    private static long aligned(TensorShape shape) {
        return EpSizing.alignUp(shape.bytes(), SLICE_ALIGNMENT);
    }

    private EpTensor part(Window window, long offset, TensorShape shape) {
        DeviceMemory memory = window.memory().slice(offset, shape.bytes());
        parts.add(memory);
        return EpTensor.inWindow(window.slice(offset, shape.bytes()), memory, shape.type(), shape.extents());
    }

    private Window window(long bytes) {
        DeviceMemory memory = group.communicator().allocate(bytes);
        memories.add(memory);
        Window window = group.communicator().register(memory);
        windows.add(window);
        return window;
    }

    /** Everything that was allocated, in the order in which it can be closed. */
    List<NativeObject> resources() {
        List<NativeObject> all = new ArrayList<>(windows);
        all.addAll(parts);
        all.addAll(memories);
        return all;
    }

    /** The tensors of the buffers that are not there in every layout, and those that are. */
    List<@Nullable EpTensor> tensors() {
        List<@Nullable EpTensor> all = new ArrayList<>(
                List.of(routing, tokens, weights, received, expertOutputs, combined, counts));
        all.add(scales);
        all.add(receivedScales);
        all.add(outputScales);
        all.add(receivedWeights);
        all.add(receivedIndices);
        all.add(offsets);
        all.add(total);
        return all;
    }

    /** Gives everything back; what cannot be given back does not keep the rest. */
    void close() {
        Ownership.closeAll(resources());
    }
}
