package io.nccl4j.safety;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.oracle.EpCase;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/**
 * A MoE layer on one rank whose experts hand back what they receive, so that a step is work on the device alone and can be
 * captured; what it gives is compared with the oracle.
 */
final class Layer implements AutoCloseable {
    private static final Duration LIMIT = Duration.ofSeconds(20);
    private static final byte STALE = 0x5a;

    final EpHandle handle;
    final EpBuffers buffers;
    private final LayerShape kind;
    private final EpCase model;
    private final int rank;
    private final PinnedMemory tokens;
    private final PinnedMemory routing;
    private final PinnedMemory weights;

    Layer(EpHandle handle, LayerShape kind, EpCase model) {
        this.handle = handle;
        this.kind = kind;
        this.model = model;
        this.rank = handle.group().communicator().rank();
        EpBuffers made = handle.allocateBuffers(BufferConfig.of(model.hidden(), LayerShape.type(model)));
        List<PinnedMemory> staging = new ArrayList<>();
        try {
            for (EpTensor tensor : List.of(made.tokens(), made.routing(), made.weights())) {
                staging.add(PinnedMemory.allocate(handle.group().device(), tensor.byteSize()));
            }
        } catch (RuntimeException e) {
            staging.forEach(PinnedMemory::close);
            made.close();
            throw e;
        }
        this.buffers = made;
        this.tokens = staging.get(0);
        this.routing = staging.get(1);
        this.weights = staging.get(2);
    }

    /** Enqueues the copy of a batch into the buffers; rows of routing behind it are -1. The stream must be idle. */
    void load(EpCase batch, CudaStream stream) {
        int rowBytes = rowBytes();
        routing.segment().fill((byte) -1);
        byte[][] rows = batch.inputs().tokens()[rank];
        for (int token = 0; token < rows.length; token++) {
            MemorySegment.copy(rows[token], 0, tokens.segment(), JAVA_BYTE, (long) token * rowBytes, rowBytes);
            for (int k = 0; k < handle.topK(); k++) {
                long at = (long) token * handle.topK() + k;
                routing.segment().setAtIndex(JAVA_LONG, at, batch.inputs().routing().of(rank)[token][k]);
                weights.segment().setAtIndex(JAVA_FLOAT, at, batch.inputs().weights()[rank][token][k]);
            }
        }
        buffers.tokens().memory().copyFromAsync(tokens, tokens.byteSize(), stream);
        buffers.routing().memory().copyFromAsync(routing, routing.byteSize(), stream);
        buffers.weights().memory().copyFromAsync(weights, weights.byteSize(), stream);
        // No result may be one of a former step.
        buffers.combined().memory().fillAsync(STALE, stream);
    }

    /** The batch's tokens on this rank. */
    int count(EpCase batch) {
        return batch.inputs().tokens()[rank].length;
    }

    /** Enqueues the experts: the rows received are their outputs. */
    void experts(CudaStream stream) {
        DeviceMemory received = buffers.received().memory();
        buffers.expertOutputs().memory().copyFromAsync(received, received.byteSize(), stream);
    }

    /** Dispatch, experts and combine with a T. */
    void enqueue(int count, CudaStream stream) {
        handle.dispatchAsync(buffers, count, stream);
        experts(stream);
        handle.combineAsync(buffers, stream);
    }

    /** A batch from the host to the host, compared with the oracle. */
    void runAndVerify(EpCase batch, CudaStream stream) {
        load(batch, stream);
        enqueue(count(batch), stream);
        stream.await(LIMIT);
        verify(batch);
    }

    /** Compares what the last step has given; the stream must be idle. */
    void verify(EpCase batch) {
        new LayerOracle(kind, batch, rank, handle.group().sizing().receiveRows())
                .verify(this);
    }

    int rowBytes() {
        return model.hidden() * model.format().bytes();
    }

    static byte[] bytes(EpTensor tensor) {
        return segment(tensor).toArray(JAVA_BYTE);
    }

    static int[] ints(EpTensor tensor) {
        return segment(tensor).toArray(JAVA_INT);
    }

    static long[] longs(EpTensor tensor) {
        return segment(tensor).toArray(JAVA_LONG);
    }

    static float[] floats(EpTensor tensor) {
        return segment(tensor).toArray(JAVA_FLOAT);
    }

    /** Emulated device memory lies in the process. */
    private static MemorySegment segment(EpTensor tensor) {
        return MemorySegment.ofAddress(tensor.address()).reinterpret(tensor.byteSize());
    }

    @Override
    public void close() {
        buffers.close();
        tokens.close();
        routing.close();
        weights.close();
    }
}
