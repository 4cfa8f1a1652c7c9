package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.CombinedRows;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.ExpertMajorSlots;
import io.nccl4j.oracle.FlatSlots;
import io.nccl4j.oracle.HighThroughputExpertMajor;
import io.nccl4j.oracle.HighThroughputFlat;
import io.nccl4j.oracle.LowLatencyExpertMajor;
import io.nccl4j.oracle.LowLatencyRankMajor;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.ReceiveBudget;
import io.nccl4j.oracle.Rows;
import io.nccl4j.oracle.RowsWritten;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/** A MoE layer on one rank of an emulated cluster: loads cases, lets experts work on the host, and compares with the oracle. */
final class LayerOnRank implements AutoCloseable {
    static final Duration LIMIT = Duration.ofSeconds(30);
    private static final byte FILL = 0x5a;

    final EmulatedRank rank;
    final Communicator communicator;
    final CudaStream stream;
    final EpGroup group;
    final EpHandle handle;
    final EpBuffers buffers;
    private final NumberFormat format;
    private final int rowBytes;
    private final PinnedMemory expertRows;
    private final PinnedMemory expertCounts;
    private final @Nullable PinnedMemory expertOffsets;

    private LayerOnRank(EmulatedRank rank, EpCase shape, EpGroupConfig config, HandleConfig handleConfig) {
        this.rank = rank;
        this.format = shape.format();
        this.rowBytes = shape.hidden() * format.bytes();
        this.communicator = Communicator.init(rank.bootstrap(), rank.device());
        this.stream = CudaStream.create(rank.device());
        this.group = EpGroup.create(communicator, config);
        this.handle = group.createHandle(handleConfig);
        this.buffers = handle.allocateBuffers(BufferConfig.of(shape.hidden(), type(format)));
        this.expertRows = PinnedMemory.allocate(rank.device(), buffers.received().byteSize());
        this.expertCounts = PinnedMemory.allocate(rank.device(), counts().byteSize());
        this.expertOffsets = hasOffsets()
                ? PinnedMemory.allocate(rank.device(), buffers.expertOffsets().byteSize())
                : null;
    }

    /** The layer for a case's shape; {@code more} changes the configuration. */
    static LayerOnRank of(EmulatedRank rank, EpCase shape, Algorithm algorithm, Layout layout,
            UnaryOperator<EpGroupConfig.Builder> more) {
        return of(rank, shape, algorithm, layout, more, HandleConfig.defaults());
    }

    static LayerOnRank of(EmulatedRank rank, EpCase shape, Algorithm algorithm, Layout layout,
            UnaryOperator<EpGroupConfig.Builder> more, HandleConfig handleConfig) {
        return new LayerOnRank(rank, shape, config(shape, algorithm, layout, more), handleConfig);
    }

    static EpGroupConfig config(EpCase c, Algorithm algorithm, Layout layout,
            UnaryOperator<EpGroupConfig.Builder> more) {
        EpGroupConfig.Builder builder = algorithm == Algorithm.LOW_LATENCY
                ? EpGroupConfig.lowLatency()
                : EpGroupConfig.highThroughput();
        return more.apply(builder.experts(c.shape().experts()).maxTokensPerRank(c.shape().maxTokens())
                .maxTokenBytes(c.hidden() * c.format().bytes()).layout(layout).topK(c.shape().topK())).build();
    }

    static DataType type(NumberFormat format) {
        return DataType.valueOf(format.name());
    }

    private boolean hasOffsets() {
        return handle.layout() == Layout.EXPERT_MAJOR && group.config().algorithm() == Algorithm.HIGH_THROUGHPUT;
    }

    private EpTensor counts() {
        return handle.layout() == Layout.RANK_MAJOR ? buffers.sourceRankCounts() : buffers.expertCounts();
    }

    /** Writes the case into the buffers, with a pattern where nothing should be written, and waits. */
    int load(EpCase c) {
        byte[][] tokens = c.inputs().tokens()[rank.rank()];
        fill(buffers.received());
        fill(buffers.combined());
        fill(buffers.expertOutputs());
        if (handle.layout() != Layout.EXPERT_MAJOR || hasOffsets()) {
            fill(buffers.receivedWeights());
        }
        if (handle.layout() == Layout.FLAT) {
            fill(buffers.receivedIndices());
        }
        stream.await(LIMIT);
        ByteBuffer routing = bytes(buffers.routing());
        ByteBuffer weights = bytes(buffers.weights());
        for (int t = 0; t < buffers.maxTokens(); t++) {
            for (int k = 0; k < c.shape().topK(); k++) {
                // Beyond the case's tokens: no experts, so that larger graphs can serve it.
                routing.putLong(t < tokens.length ? c.inputs().routing().of(rank.rank())[t][k] : -1);
                weights.putFloat(t < tokens.length ? c.inputs().weights()[rank.rank()][t][k] : Float.NaN);
            }
        }
        write(buffers.routing(), routing.array());
        write(buffers.weights(), weights.array());
        byte[] rows = new byte[buffers.maxTokens() * rowBytes];
        for (int t = 0; t < tokens.length; t++) {
            System.arraycopy(tokens[t], 0, rows, t * rowBytes, rowBytes);
        }
        write(buffers.tokens(), rows);
        return tokens.length;
    }

    private void fill(EpTensor tensor) {
        tensor.memory().fillAsync(FILL, stream);
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

    /** Enqueues the experts: to the host, a host function, and back, so that a capture holds them. */
    void enqueueExperts() {
        buffers.received().memory().copyToAsync(expertRows, expertRows.byteSize(), stream);
        counts().memory().copyToAsync(expertCounts, expertCounts.byteSize(), stream);
        if (expertOffsets != null) {
            buffers.expertOffsets().memory().copyToAsync(expertOffsets, expertOffsets.byteSize(), stream);
        }
        stream.launchHostFunction(this::experts);
        buffers.expertOutputs().memory().copyFromAsync(expertRows, expertRows.byteSize(), stream);
    }

    private void experts() {
        MemorySegment rows = expertRows.segment();
        int localExperts = group.sizing().localExperts();
        int perZone = (int) (rows.byteSize() / rowBytes / Math.max(1, zones()));
        switch (handle.layout()) {
            case FLAT -> work(rows, 0, perZone, rank.rank());
            case RANK_MAJOR -> {
                for (int source = 0; source < rank.size(); source++) {
                    work(rows, source * perZone, count(source), rank.rank());
                }
            }
            case EXPERT_MAJOR -> {
                for (int local = 0; local < localExperts; local++) {
                    int first = expertOffsets == null
                            ? local * perZone
                            : expertOffsets.segment().getAtIndex(ValueLayout.JAVA_INT, local);
                    work(rows, first, count(local), rank.rank() * localExperts + local);
                }
            }
        }
    }

    private int zones() {
        return switch (handle.layout()) {
            case FLAT -> 1;
            case RANK_MAJOR -> rank.size();
            case EXPERT_MAJOR -> expertOffsets == null ? group.sizing().localExperts() : 1;
        };
    }

    private int count(int index) {
        return expertCounts.segment().getAtIndex(ValueLayout.JAVA_INT, index);
    }

    private void work(MemorySegment rows, int first, int count, int number) {
        for (int row = first; row < first + count; row++) {
            MemorySegment slice = rows.asSlice((long) row * rowBytes, rowBytes);
            byte[] made = TestExperts.apply(number, slice.toArray(ValueLayout.JAVA_BYTE), format);
            MemorySegment.copy(made, 0, slice, ValueLayout.JAVA_BYTE, 0, rowBytes);
        }
    }

    /** Dispatch, experts, combine, as one step; enqueued only. */
    void enqueueStep(long tokens) {
        handle.dispatchAsync(buffers, tokens, stream);
        enqueueExperts();
        handle.combineAsync(buffers, stream);
    }

    /** Compares everything with what the case should give; the stream must be idle. */
    void verify(EpCase c, RowsWritten written) {
        Rows tokens = new Rows(read(buffers.received()).array(), rowBytes);
        switch (handle.layout()) {
            case EXPERT_MAJOR -> {
                if (group.config().algorithm() == Algorithm.LOW_LATENCY) {
                    LowLatencyExpertMajor.dispatch(c.inputs(), rank.rank()).verify(tokens, null,
                            ints(buffers.expertCounts()), FILL);
                } else {
                    verifyExpertMajor(c, tokens, written);
                }
            }
            case RANK_MAJOR -> LowLatencyRankMajor.dispatch(c.inputs(), rank.rank()).verify(tokens, null,
                    ints(buffers.receivedIndices()), floats(buffers.receivedWeights()),
                    ints(buffers.sourceRankCounts()), false, FILL);
            case FLAT -> verifyFlat(c, tokens, written);
        }
        verifyCombined(c);
    }

    /** Compares the combined rows only. */
    void verifyCombined(EpCase c) {
        byte[][] expected = switch (handle.layout()) {
            case EXPERT_MAJOR ->
                group.config().algorithm() == Algorithm.LOW_LATENCY ? combinedZones(c) : combinedExpertMajor(c);
            case RANK_MAJOR -> combinedRegions(c);
            case FLAT -> combinedFlat(c);
        };
        CombinedRows.verify(expected, new Rows(read(buffers.combined()).array(), rowBytes));
    }

    private byte[] expert(EpCase c, int number, io.nccl4j.oracle.Source source) {
        return TestExperts.apply(number, c.inputs().token(source), format);
    }

    private byte[][] combinedZones(EpCase c) {
        return LowLatencyExpertMajor.combine(c.inputs().routing(), rank.rank(), c.inputs().weights()[rank.rank()],
                (expert, source) -> expert(c, expert, source), format, c.hidden());
    }

    private byte[][] combinedRegions(EpCase c) {
        return LowLatencyRankMajor.combine(c.inputs().routing(), rank.rank(), (from, source) -> expert(c, from, source),
                format,
                c.hidden());
    }

    ReceiveBudget budget() {
        int rows = (int) group.sizing().receiveRows();
        return group.config().overflow() == OverflowPolicy.DROP
                ? ReceiveBudget.dropping(rows)
                : ReceiveBudget.trapping(rows);
    }

    private FlatSlots flatSlots(EpCase c) {
        return new FlatSlots(c.inputs().routing(), budget());
    }

    private void verifyFlat(EpCase c, Rows tokens, RowsWritten written) {
        HighThroughputFlat.Received received = HighThroughputFlat.dispatch(c.inputs(), flatSlots(c), rank.rank());
        received.verifyCounters(ints(buffers.expertCounts()), (long) ints(buffers.receivedTotal())[0]);
        received.verify(new HighThroughputFlat.Outputs(tokens, null, longs(buffers.receivedIndices()),
                floats(buffers.receivedWeights())), false, written, FILL);
    }

    private byte[][] combinedFlat(EpCase c) {
        return HighThroughputFlat.combine(flatSlots(c), rank.rank(), (from, source) -> expert(c, from, source), format,
                c.hidden());
    }

    private ExpertMajorSlots slots(EpCase c) {
        return new ExpertMajorSlots(c.inputs().routing(), budget(),
                io.nccl4j.oracle.ExpertMajorMode.valueOf(handle.shape().mode().name()), handle.alignment());
    }

    private void verifyExpertMajor(EpCase c, Rows tokens, RowsWritten written) {
        HighThroughputExpertMajor.Received received = HighThroughputExpertMajor.dispatch(c.inputs(), slots(c),
                rank.rank());
        received.verifyCounters(widen(ints(buffers.expertCounts())), widen(ints(buffers.expertOffsets())),
                (long) ints(buffers.receivedTotal())[0]);
        received.verify(new HighThroughputExpertMajor.Outputs(tokens, null, floats(buffers.receivedWeights())), written,
                FILL);
    }

    private byte[][] combinedExpertMajor(EpCase c) {
        return HighThroughputExpertMajor.combine(slots(c), rank.rank(), (expert, source) -> expert(c, expert, source),
                format,
                c.hidden());
    }

    int[] ints(EpTensor tensor) {
        ByteBuffer data = read(tensor);
        int[] values = new int[data.capacity() / Integer.BYTES];
        data.asIntBuffer().get(values);
        return values;
    }

    long[] longs(EpTensor tensor) {
        ByteBuffer data = read(tensor);
        long[] values = new long[data.capacity() / Long.BYTES];
        data.asLongBuffer().get(values);
        return values;
    }

    float[] floats(EpTensor tensor) {
        ByteBuffer data = read(tensor);
        float[] values = new float[data.capacity() / Float.BYTES];
        data.asFloatBuffer().get(values);
        return values;
    }

    private static long[] widen(int[] values) {
        long[] wide = new long[values.length];
        for (int i = 0; i < values.length; i++) {
            wide[i] = values[i];
        }
        return wide;
    }

    @Override
    public void close() {
        expertRows.close();
        expertCounts.close();
        if (expertOffsets != null) {
            expertOffsets.close();
        }
        buffers.close();
        handle.close();
        group.close();
        stream.close();
        communicator.close();
    }
}
