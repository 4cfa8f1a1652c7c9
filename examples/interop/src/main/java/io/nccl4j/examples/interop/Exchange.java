package io.nccl4j.examples.interop;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.nccl.DataType;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.LongStream;

/** Dispatch and combine of one rank, with memory and streams that go from one library to the other. */
final class Exchange {
    private final OtherLibrary library;
    private final EpHandle handle;
    private final CudaDevice device;
    private final Rows rows;

    Exchange(OtherLibrary library, EpGroup group, EpHandle handle, Rows rows) {
        this.library = library;
        this.handle = handle;
        this.device = group.communicator().device();
        this.rows = rows;
    }

    /** Tensors in memory that the other library allocated one by one, and its stream, in the explicit form. */
    void theirMemoryAndStream() {
        List<Long> allocated = new ArrayList<>();
        long address = library.createStream();
        try (CudaStream stream = CudaStream.wrap(address, device)) {
            EpTensor tokens = theirs(allocated, DataType.FLOAT32, Rows.TOKENS, Rows.HIDDEN);
            EpTensor routing = theirs(allocated, DataType.INT64, Rows.TOKENS, Rows.TOP_K);
            EpTensor weights = theirs(allocated, DataType.FLOAT32, Rows.TOKENS, Rows.TOP_K);
            long zoneRows = (long) rows.ranks() * Rows.TOKENS;
            EpTensor received = theirs(allocated, DataType.FLOAT32, rows.localExperts(), zoneRows, Rows.HIDDEN);
            EpTensor counts = theirs(allocated, DataType.INT32, rows.localExperts());
            EpTensor combined = theirs(allocated, DataType.FLOAT32, Rows.TOKENS, Rows.HIDDEN);

            write(tokens, routing, weights, address);
            handle.update(routing, stream);
            handle.dispatch(DispatchInputs.of(tokens), DispatchOutputs.of(received), LayoutInfo.of(counts), stream);
            handle.combine(CombineInputs.of(received), CombineOutputs.of(combined, weights), stream);
            check(counts, received, combined, address);
        } finally {
            allocated.forEach(library::free);
            library.destroyStream(address);
        }
    }

    /** Buffers from the other library's allocator; its copy on its stream is the experts. */
    void theirAllocator() {
        long address = library.createStream();
        try (CudaStream stream = CudaStream.wrap(address, device);
                EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(Rows.HIDDEN, DataType.FLOAT32),
                        bytes -> DeviceMemory.adopt(library.allocate(bytes), bytes, device, library::free))) {
            layer(buffers, stream, address);
        } finally {
            library.destroyStream(address);
        }
    }

    /** Memory of nccl4j, and its stream where the other library takes one, are given to the other library. */
    void ourMemoryAndStream() {
        try (EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(Rows.HIDDEN, DataType.FLOAT32));
                CudaStream stream = CudaStream.create(device)) {
            if (library.takesStreams()) {
                layer(buffers, stream, stream.address());
                return;
            }
            long own = library.createStream();
            try (CudaStream wrapped = CudaStream.wrap(own, device)) {
                layer(buffers, wrapped, own);
            } finally {
                library.destroyStream(own);
            }
        }
    }

    private void layer(EpBuffers buffers, CudaStream stream, long address) {
        write(buffers.tokens(), buffers.routing(), buffers.weights(), address);
        handle.dispatchAsync(buffers, Rows.TOKENS, stream);
        library.copyAsync(buffers.expertOutputs().address(), buffers.received().address(),
                buffers.received().byteSize(), address);
        handle.combineAsync(buffers, stream);
        check(buffers.expertCounts(), buffers.received(), buffers.combined(), address);
    }

    private EpTensor theirs(List<Long> allocated, DataType type, long... shape) {
        long bytes = LongStream.of(shape).reduce(type.byteSize(), (product, extent) -> product * extent);
        long address = library.allocate(bytes);
        allocated.add(address);
        return EpTensor.of(DeviceMemory.wrap(address, bytes, device), type, shape);
    }

    private void write(EpTensor tokens, EpTensor routing, EpTensor weights, long stream) {
        library.toDevice(tokens.address(), rows.tokens(), stream);
        library.toDevice(routing.address(), rows.routing(), stream);
        library.toDevice(weights.address(), rows.weights(), stream);
    }

    private void check(EpTensor counts, EpTensor received, EpTensor combined, long stream) {
        ByteBuffer hostCounts = Rows.buffer(counts.byteSize());
        ByteBuffer hostReceived = Rows.buffer(received.byteSize());
        ByteBuffer hostCombined = Rows.buffer(combined.byteSize());
        library.toHost(hostCounts, counts.address(), stream);
        library.toHost(hostReceived, received.address(), stream);
        library.toHost(hostCombined, combined.address(), stream);
        rows.checkReceived(hostCounts, hostReceived);
        rows.checkCombined(hostCombined);
    }
}
