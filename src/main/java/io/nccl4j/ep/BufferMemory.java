package io.nccl4j.ep;

import io.nccl4j.NativeObject;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.Ownership;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.Window;
import java.util.ArrayList;
import java.util.List;
import java.util.function.LongFunction;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** The allocations of an {@link EpBuffers}: all or nothing. Tensors that other ranks reach lie in one window. */
final class BufferMemory {
    private static final int SLICE_ALIGNMENT = 256;

    private final Communicator communicator;
    private final LongFunction<DeviceMemory> source;
    private final List<DeviceMemory> memories = new ArrayList<>();
    private final List<DeviceMemory> parts = new ArrayList<>();
    private @Nullable Window window;
    private long windowUsed;

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
    final @Nullable EpTensor expertCounts;
    final @Nullable EpTensor sourceRankCounts;
    final @Nullable EpTensor expertOffsets;
    final @Nullable EpTensor receivedTotal;

    BufferMemory(Communicator communicator, LayerTensors shapes, LongFunction<DeviceMemory> source) {
        this.communicator = communicator;
        this.source = source;
        LayerTensors.Dispatch dispatch = shapes.dispatch();
        LayerTensors.Combine combine = shapes.combine();
        LayerTensors.Counters counters = shapes.counters();
        try {
            long shared = Stream.of(dispatch.received(), dispatch.receivedScales(), combine.outputs())
                    .mapToLong(BufferMemory::windowBytes).reduce(0, (a, b) -> Sizes.sum("window bytes", a, b));
            if (shared > 0) {
                // A rank that has no room must not leave the others waiting for it to register.
                MemoryRequest.of(communicator, shapes.totalBytes(), 0, "buffers for " + dispatch.received())
                        .checkOnAllRanks(communicator, "EpHandle.allocateBuffers", communicator.limit());
                DeviceMemory memory = communicator.allocate(shared);
                memories.add(memory);
                window = communicator.register(memory);
            }
            routing = allocate(shapes.routing());
            tokens = allocate(dispatch.tokens());
            scales = optional(dispatch.scales());
            weights = allocate(shapes.weights());
            received = allocate(dispatch.received());
            receivedScales = optional(dispatch.receivedScales());
            expertOutputs = allocate(combine.outputs());
            outputScales = optional(combine.scales());
            receivedWeights = optional(dispatch.receivedWeights());
            receivedIndices = optional(dispatch.receivedIndices());
            combined = allocate(combine.combined());
            expertCounts = optional(counters.experts());
            sourceRankCounts = optional(counters.sourceRanks());
            expertOffsets = optional(counters.offsets());
            receivedTotal = optional(counters.total());
            clearRouting();
        } catch (RuntimeException | Error e) {
            close();
            throw e;
        }
    }

    private static long windowBytes(@Nullable TensorShape shape) {
        return shape == null || !shape.inWindow() ? 0 : Sizes.alignUp(shape.bytes(), SLICE_ALIGNMENT);
    }

    /** New memory holds no routing: a step before the first one is written routes nothing. */
    private void clearRouting() {
        try (CudaStream stream = CudaStream.create(communicator.device())) {
            routing.memory().fillAsync((byte) -1, stream);
            stream.awaitUninterruptibly(Deadline.ofClose().remaining());
        }
    }

    private EpTensor allocate(TensorShape shape) {
        long bytes = shape.bytes();
        Window shared = window;
        if (shape.inWindow() && shared != null) {
            DeviceMemory part = shared.memory().slice(windowUsed, bytes);
            parts.add(part);
            EpTensor tensor = EpTensor.inWindow(shared.slice(windowUsed, bytes), part, shape.type(), shape.extents());
            windowUsed += windowBytes(shape);
            return tensor.fixed();
        }
        DeviceMemory memory = source.apply(bytes);
        memories.add(memory);
        if (memory.byteSize() < bytes || memory.device() != communicator.device()
                || memory.address() % SLICE_ALIGNMENT != 0) {
            throw new IllegalArgumentException("memory for buffers is " + memory.byteSize() + " bytes at 0x"
                    + Long.toHexString(memory.address()) + " on " + memory.device() + ": must be at least " + bytes
                    + " bytes at a multiple of " + SLICE_ALIGNMENT + " on " + communicator.device());
        }
        return EpTensor.of(memory, shape.type(), shape.extents()).fixed();
    }

    private @Nullable EpTensor optional(@Nullable TensorShape shape) {
        return shape == null ? null : allocate(shape);
    }

    /** Everything that was allocated, in the order in which it can be closed. */
    List<NativeObject> resources() {
        List<NativeObject> all = new ArrayList<>();
        if (window != null) {
            all.add(window);
        }
        all.addAll(parts);
        all.addAll(memories);
        return all;
    }

    /** The tensors that a step without tokens writes. */
    List<EpTensor> written() {
        return Stream.of(routing, combined, expertCounts, sourceRankCounts, expertOffsets, receivedTotal,
                receivedWeights, receivedIndices).filter(tensor -> tensor != null).toList();
    }

    /** Gives everything back; what cannot be given back does not keep the rest. */
    void close() {
        Ownership.closeAll(resources());
    }
}
