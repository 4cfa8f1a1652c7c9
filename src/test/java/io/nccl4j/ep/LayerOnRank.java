package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.ExpertMajorMode;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.ReceiveBudget;
import io.nccl4j.oracle.RowsWritten;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.function.UnaryOperator;

/**
 * A MoE layer on one rank of an emulated cluster with what tests of this package see of it; every row is compared,
 * unused ones too.
 */
final class LayerOnRank implements AutoCloseable {
    static final Duration LIMIT = MoeRank.LIMIT;

    final EmulatedRank rank;
    final CudaStream stream;
    final EpGroup group;
    final EpHandle handle;
    final EpBuffers buffers;
    private final MoeRank moe;
    private final MoeLayer layer;

    private LayerOnRank(EmulatedRank rank, MoeRank moe) {
        this.rank = rank;
        this.moe = moe;
        stream = moe.stream();
        group = moe.group();
        layer = moe.layer();
        handle = layer.handle();
        buffers = layer.buffers();
    }

    /** The layer for a case's shape; {@code more} changes the configuration. */
    static LayerOnRank of(EmulatedRank rank, EpCase shape, Algorithm algorithm, Layout layout,
            UnaryOperator<EpGroupConfig.Builder> more) {
        return new LayerOnRank(rank, MoeRank.of(rank, LayerKind.of(algorithm, layout), shape, more));
    }

    static EpGroupConfig config(EpCase c, Algorithm algorithm, Layout layout,
            UnaryOperator<EpGroupConfig.Builder> more) {
        return more.apply(LayerKind.of(algorithm, layout).config(c)).build();
    }

    static DataType type(NumberFormat format) {
        return LayerKind.type(format);
    }

    /** Writes the case into the buffers, with a pattern where nothing should be written, and waits. */
    int load(EpCase c) {
        layer.spoil(stream);
        layer.load(c.withOneWeightPerExpert(), stream);
        stream.await(LIMIT);
        return layer.count(c);
    }

    /** Enqueues the experts. */
    void enqueueExperts() {
        layer.experts(stream);
    }

    /** Dispatch, experts, combine, as one step; enqueued only. */
    void enqueueStep(int tokens) {
        layer.enqueue(tokens, stream);
    }

    /** Compares everything with what the case should give; the stream must be idle. */
    void verify(EpCase c, RowsWritten written) {
        layer.mode(ExpertMajorMode.valueOf(handle.shape().mode().name()));
        layer.verify(c.withOneWeightPerExpert(), written, MoeLayer.UNTOUCHED);
    }

    ReceiveBudget budget() {
        int rows = (int) group.sizing().receiveRows();
        return group.config().overflow() == OverflowPolicy.DROP
                ? ReceiveBudget.dropping(rows)
                : ReceiveBudget.trapping(rows);
    }

    static ByteBuffer bytes(EpTensor tensor) {
        return ByteBuffer.allocate((int) tensor.byteSize()).order(ByteOrder.LITTLE_ENDIAN);
    }

    static void write(EpTensor tensor, byte[] data) {
        try (Arena arena = Arena.ofConfined()) {
            tensor.memory().copyFrom(arena.allocateFrom(ValueLayout.JAVA_BYTE, data));
        }
    }

    static ByteBuffer read(EpTensor tensor) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment host = arena.allocate(tensor.byteSize());
            tensor.memory().copyTo(host);
            return ByteBuffer.wrap(host.toArray(ValueLayout.JAVA_BYTE)).order(ByteOrder.LITTLE_ENDIAN);
        }
    }

    int[] ints(EpTensor tensor) {
        return MoeLayer.ints(tensor);
    }

    float[] floats(EpTensor tensor) {
        ByteBuffer data = read(tensor);
        float[] values = new float[data.capacity() / Float.BYTES];
        data.asFloatBuffer().get(values);
        return values;
    }

    @Override
    public void close() {
        moe.close();
    }
}
