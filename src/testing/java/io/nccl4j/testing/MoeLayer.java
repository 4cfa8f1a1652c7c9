package io.nccl4j.testing;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.OverflowPolicy;
import io.nccl4j.ep.ZeroCopy;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.CombinedRows;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.oracle.ExpertMajorMode;
import io.nccl4j.oracle.GlobalInputs;
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
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * A Mixture-of-Experts layer on one rank: loads a batch, enqueues dispatch, experts and combine, and compares what they
 * have given with the oracle. The experts are a function in Java that runs in stream order: received rows are copied to
 * pinned memory, computed on by the host, and copied back. So a step is right on a GPU as on the emulator, and can be
 * captured.
 */
public final class MoeLayer implements AutoCloseable {
    /** What {@link #spoil} fills outputs with. */
    public static final byte UNTOUCHED = 0x5a;

    private final LayerKind kind;
    private final EpShape shape;
    private final EpBuffers buffers;
    private final boolean owner;
    private final ExpertFunction experts;
    /** Of experts' outputs and combined rows. */
    private final NumberFormat format;
    private final int rowBytes;
    private final RowRecipe recipe;
    private final int rank;
    private final List<HostMirror> mirrors = new ArrayList<>();
    private ExpertMajorMode mode;
    private final HostMirror tokens;
    private final @Nullable HostMirror scales;
    private final HostMirror routing;
    private final HostMirror weights;
    private final HostMirror received;
    private final @Nullable HostMirror receivedScales;
    private final HostMirror counts;
    private final @Nullable HostMirror offsets;
    private final @Nullable HostMirror indices;
    private final @Nullable HostMirror receivedWeights;
    private final HostMirror outputs;
    private final @Nullable HostMirror outputScales;

    /** A layer with buffers of its own and {@link ExpertFunction#scaling()}. */
    public MoeLayer(EpHandle handle, BufferConfig rows) {
        this(handle.allocateBuffers(rows), true, ExpertFunction.scaling());
    }

    /** A layer on buffers that somebody else closes. */
    public MoeLayer(EpBuffers buffers, ExpertFunction experts) {
        this(buffers, false, experts);
    }

    private MoeLayer(EpBuffers buffers, boolean owner, ExpertFunction experts) {
        EpHandle handle = buffers.handle();
        this.buffers = buffers;
        this.owner = owner;
        this.experts = experts;
        kind = LayerKind.of(handle.group().config().algorithm(), handle.layout());
        shape = new EpShape(handle.group().communicator().size(), handle.group().config().experts(), handle.topK(),
                buffers.maxTokens());
        format = NumberFormat.valueOf(buffers.config().type().name());
        rowBytes = buffers.config().hidden() * format.bytes();
        recipe = new RowRecipe(buffers.config(), buffers.dispatchConfig().hasRoundScales());
        rank = handle.group().communicator().rank();
        mode = handle.group().config().zeroCopy() == ZeroCopy.ON
                ? ExpertMajorMode.LOCAL_DUP
                : ExpertMajorMode.LOCAL_PERMUTE;
        boolean done = false;
        try {
            tokens = mirror(buffers.tokens());
            scales = recipe.sendsScales() ? mirror(buffers.scales()) : null;
            routing = mirror(buffers.routing());
            weights = mirror(buffers.weights());
            received = mirror(buffers.received());
            receivedScales = recipe.hasScales() ? mirror(buffers.receivedScales()) : null;
            counts = mirror(countsTensor());
            offsets = kind == LayerKind.HT_EXPERT_MAJOR ? mirror(buffers.expertOffsets()) : null;
            indices = kind.hasRowPerExpert() ? null : mirror(buffers.receivedIndices());
            receivedWeights = kind == LayerKind.LL_EXPERT_MAJOR ? null : mirror(buffers.receivedWeights());
            outputs = mirror(buffers.expertOutputs());
            outputScales = recipe.hasOutputScales() ? mirror(buffers.expertOutputScales()) : null;
            done = true;
        } finally {
            if (!done) {
                close();
            }
        }
    }

    private HostMirror mirror(EpTensor tensor) {
        mirrors.add(new HostMirror(tensor));
        return mirrors.getLast();
    }

    /** Rows per zone. */
    private EpTensor countsTensor() {
        return switch (kind) {
            case LL_RANK_MAJOR -> buffers.sourceRankCounts();
            case HT_FLAT -> buffers.receivedTotal();
            case LL_EXPERT_MAJOR, HT_EXPERT_MAJOR -> buffers.expertCounts();
        };
    }

    public LayerKind kind() {
        return kind;
    }

    public EpShape shape() {
        return shape;
    }

    public EpHandle handle() {
        return buffers.handle();
    }

    public EpBuffers buffers() {
        return buffers;
    }

    /** This rank's tokens in a batch. */
    public int count(EpCase batch) {
        return batch.inputs().routing().tokens(rank);
    }

    /** Enqueues the copy of a batch into the buffers; rows behind it route nothing. The stream must be idle. */
    public void load(EpCase batch, CudaStream stream) {
        GlobalInputs inputs = recipe.sent(batch.inputs());
        boolean wide = buffers.config().routingType() == DataType.INT64;
        routing.host().fill((byte) -1);
        weights.host().fill(UNTOUCHED);
        for (int token = 0; token < count(batch); token++) {
            put(inputs.tokens()[rank][token], tokens, token);
            if (scales != null) {
                put(inputs.scales()[rank][token], scales, token);
            }
            for (int k = 0; k < shape.topK(); k++) {
                long at = (long) token * shape.topK() + k;
                int expert = inputs.routing().of(rank)[token][k];
                if (wide) {
                    routing.host().setAtIndex(JAVA_LONG, at, expert);
                } else {
                    routing.host().setAtIndex(JAVA_INT, at, expert);
                }
                weights.host().setAtIndex(JAVA_FLOAT, at, inputs.weights()[rank][token][k]);
            }
        }
        copy(true, stream, tokens, scales, routing, weights);
        // No result may be one of a former step.
        buffers.combined().memory().fillAsync(UNTOUCHED, stream);
    }

    private static void put(byte[] row, HostMirror rows, long index) {
        MemorySegment.copy(row, 0, rows.host(), JAVA_BYTE, index * row.length, row.length);
    }

    private static void copy(boolean toDevice, CudaStream stream, @Nullable HostMirror... mirrors) {
        for (HostMirror mirror : mirrors) {
            if (mirror != null && toDevice) {
                mirror.toDevice(stream);
            } else if (mirror != null) {
                mirror.toHost(stream);
            }
        }
    }

    /**
     * Enqueues the filling of all outputs. Peers write into windows: all ranks must have done it before one dispatches.
     */
    public void spoil(CudaStream stream) {
        buffers.received().memory().fillAsync(UNTOUCHED, stream);
        buffers.expertOutputs().memory().fillAsync(UNTOUCHED, stream);
        buffers.combined().memory().fillAsync(UNTOUCHED, stream);
        if (kind != LayerKind.LL_EXPERT_MAJOR) {
            buffers.receivedWeights().memory().fillAsync(UNTOUCHED, stream);
        }
        if (recipe.hasScales()) {
            buffers.receivedScales().memory().fillAsync(UNTOUCHED, stream);
        }
        if (!kind.hasRowPerExpert()) {
            buffers.receivedIndices().memory().fillAsync(UNTOUCHED, stream);
        }
    }

    /** Enqueues dispatch, experts and combine with T tokens. */
    public void enqueue(int count, CudaStream stream) {
        handle().dispatchAsync(buffers, count, stream);
        experts(stream);
        handle().combineAsync(buffers, stream);
    }

    /** A graph of the same. */
    public CudaGraphExec capture(int count, CudaStream stream) {
        try (CudaGraph graph = stream.capture(() -> enqueue(count, stream))) {
            return graph.instantiate();
        }
    }

    /** A batch from the host to the host, compared with the oracle. */
    public void runAndVerify(EpCase batch, CudaStream stream) {
        load(batch, stream);
        enqueue(count(batch), stream);
        stream.await(MoeRank.LIMIT);
        verify(batch);
    }

    /** Enqueues the layer's experts. */
    public void experts(CudaStream stream) {
        experts(experts, stream);
    }

    /** Enqueues other experts on the rows that were received. */
    public void experts(ExpertFunction function, CudaStream stream) {
        copy(false, stream, received, receivedScales, counts, offsets, indices, receivedWeights);
        stream.launchHostFunction(() -> compute(function));
        copy(true, stream, outputs, outputScales);
    }

    private void compute(ExpertFunction function) {
        int firstExpert = rank * shape.localExperts();
        for (int zone = 0; zone < zones(); zone++) {
            for (long row = first(zone), end = row + used(zone); row < end; row++) {
                byte[] token = recipe.seen(row(received, row, recipe.receivedBytes()),
                        receivedScales == null ? null : row(receivedScales, row, recipe.scaleBytes()));
                byte[] output = kind.hasRowPerExpert()
                        ? function.sum(new int[]{firstExpert + zone}, new float[]{weight(row)}, token, format)
                        : sum(function, firstExpert, row, token);
                put(output, outputs, row);
                if (outputScales != null) {
                    outputScales.host().setAtIndex(JAVA_FLOAT, row, RowRecipe.outputScale(output));
                }
            }
        }
    }

    private static byte[] row(HostMirror rows, long index, int bytes) {
        return rows.host().asSlice(index * bytes, bytes).toArray(JAVA_BYTE);
    }

    /** Of a row that stands for all experts of this rank. */
    private byte[] sum(ExpertFunction function, int firstExpert, long row, byte[] token) {
        int[] chosen = new int[shape.topK()];
        float[] factors = new float[shape.topK()];
        int count = 0;
        for (long at = row * shape.topK(); at < (row + 1) * shape.topK(); at++) {
            long local = index(at);
            if (local >= 0 && local < shape.localExperts()) {
                chosen[count] = firstExpert + (int) local;
                factors[count++] = weight(at);
            }
        }
        return function.sum(Arrays.copyOf(chosen, count), factors, token, format);
    }

    private long index(long at) {
        return kind == LayerKind.HT_FLAT
                ? indices.host().getAtIndex(JAVA_LONG, at)
                : indices.host().getAtIndex(JAVA_INT, at);
    }

    /** 1 where combine applies the weights. */
    private float weight(long at) {
        return receivedWeights == null ? 1 : receivedWeights.host().getAtIndex(JAVA_FLOAT, at);
    }

    private int zones() {
        return (int) (counts.host().byteSize() / Integer.BYTES);
    }

    private long first(int zone) {
        return offsets != null
                ? Math.clamp(offsets.host().getAtIndex(JAVA_INT, zone), 0, rows())
                : zone * (rows() / zones());
    }

    /** Rows in use of a zone; what is not right yet must not be believed. */
    private long used(int zone) {
        return Math.clamp(counts.host().getAtIndex(JAVA_INT, zone), 0L, rows() - first(zone));
    }

    private long rows() {
        return received.host().byteSize() / recipe.receivedBytes();
    }

    /**
     * Everything received with the rows in use when the experts ran last, zone by zone, to compare runs by. Sorted
     * where the order within a zone is open.
     */
    public List<List<ByteBuffer>> received() {
        List<List<ByteBuffer>> all = new ArrayList<>();
        int columns = kind.hasRowPerExpert() ? 1 : shape.topK();
        for (int zone = 0; zone < zones(); zone++) {
            List<ByteBuffer> rows = new ArrayList<>();
            for (long row = first(zone), end = row + used(zone); row < end; row++) {
                byte[] with = receivedScales == null ? new byte[0] : row(receivedScales, row, recipe.scaleBytes());
                ByteBuffer whole = ByteBuffer
                        .allocate(recipe.receivedBytes() + with.length + columns * (Long.BYTES + Float.BYTES));
                whole.put(row(received, row, recipe.receivedBytes())).put(with);
                for (long at = row * columns; at < (row + 1) * columns; at++) {
                    whole.putLong(indices == null ? 0 : index(at)).putFloat(weight(at));
                }
                rows.add(whole.flip());
            }
            if (kind.isLowLatency()) {
                rows.sort(null);
            }
            all.add(rows);
        }
        return all;
    }

    /** The combined rows; the stream must be idle. */
    public Rows combined() {
        return new Rows(bytes(buffers.combined()), rowBytes);
    }

    /** Compares what the last step has given, in all rows in use; the stream must be idle. */
    public void verify(EpCase batch) {
        verify(batch, RowsWritten.WINDOW, null);
    }

    /** The same; of T tokens those behind the batch must be zeros after combine. */
    public void verify(EpCase batch, int count) {
        verify(batch);
        combined().verifyFilled(count(batch), count, (byte) 0, "combined, tokens that route nothing");
    }

    /**
     * The same, with the rows that are not in use.
     *
     * @param written which rows a dispatch of high throughput writes
     * @param untouched what outputs were filled with before; null for no check
     */
    public void verify(EpCase batch, RowsWritten written, @Nullable Byte untouched) {
        LayerOracle oracle = oracle(recipe.seen(batch.inputs()), experts);
        GlobalInputs inputs = recipe.received(batch.inputs());
        Rows rows = new Rows(bytes(buffers.received()), recipe.receivedBytes());
        Rows with = receivedScales == null ? null : new Rows(bytes(buffers.receivedScales()), recipe.scaleBytes());
        switch (kind) {
            case LL_EXPERT_MAJOR -> LowLatencyExpertMajor.dispatch(inputs, rank).verify(rows, with,
                    ints(buffers.expertCounts()), untouched);
            case LL_RANK_MAJOR ->
                LowLatencyRankMajor.dispatch(inputs, rank).verify(rows, with, ints(buffers.receivedIndices()),
                        floats(buffers.receivedWeights()), ints(buffers.sourceRankCounts()), false, untouched);
            case HT_FLAT -> {
                HighThroughputFlat.Received expected = HighThroughputFlat.dispatch(inputs, oracle.flatSlots(), rank);
                expected.verifyCounters(ints(buffers.expertCounts()), (long) ints(buffers.receivedTotal())[0]);
                expected.verify(new HighThroughputFlat.Outputs(rows, with, longs(buffers.receivedIndices()),
                        floats(buffers.receivedWeights())), false, written, untouched);
            }
            case HT_EXPERT_MAJOR -> {
                HighThroughputExpertMajor.Received expected = HighThroughputExpertMajor.dispatch(inputs,
                        oracle.zoneSlots(), rank);
                expected.verifyCounters(wideInts(buffers.expertCounts()), wideInts(buffers.expertOffsets()),
                        wideInts(buffers.receivedTotal())[0]);
                expected.verify(new HighThroughputExpertMajor.Outputs(rows, with, floats(buffers.receivedWeights())),
                        written, untouched);
            }
        }
        CombinedRows.verify(oracle.combined(rank), combined());
    }

    /** How high throughput brings a token to several experts of a rank, if the library's environment has changed it. */
    public void mode(ExpertMajorMode value) {
        mode = value;
    }

    /** The expected results of inputs that pass through this layer with some experts. */
    public LayerOracle oracle(GlobalInputs inputs, ExpertFunction function) {
        EpHandle handle = handle();
        int most = kind.isLowLatency() ? 0 : (int) handle.group().sizing().receiveRows();
        ReceiveBudget budget = handle.group().config().overflow() == OverflowPolicy.DROP
                ? ReceiveBudget.dropping(most)
                : ReceiveBudget.trapping(most);
        return new LayerOracle(kind, inputs, format, buffers.config().hidden(), function, budget, mode,
                handle.alignment(), recipe.hasOutputScales());
    }

    /** The elements of an int32 tensor that fills its memory; waits. */
    public static int[] ints(EpTensor tensor) {
        return read(tensor, host -> host.toArray(JAVA_INT));
    }

    private static long[] longs(EpTensor tensor) {
        return read(tensor, host -> host.toArray(JAVA_LONG));
    }

    private static float[] floats(EpTensor tensor) {
        return read(tensor, host -> host.toArray(JAVA_FLOAT));
    }

    private static byte[] bytes(EpTensor tensor) {
        return read(tensor, host -> host.toArray(JAVA_BYTE));
    }

    private static long[] wideInts(EpTensor tensor) {
        return Arrays.stream(ints(tensor)).asLongStream().toArray();
    }

    private static <T> T read(EpTensor tensor, Function<MemorySegment, T> decode) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment host = arena.allocate(tensor.byteSize(), Long.BYTES);
            tensor.memory().copyTo(host);
            return decode.apply(host);
        }
    }

    /** Refused, with nothing closed, while a graph holds the buffers. */
    @Override
    public void close() {
        if (owner) {
            buffers.close();
        }
        mirrors.forEach(HostMirror::close);
    }
}
