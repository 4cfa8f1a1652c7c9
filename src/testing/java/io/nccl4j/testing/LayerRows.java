package io.nccl4j.testing;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.CombineRecipe;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.OverflowPolicy;
import io.nccl4j.ep.ZeroCopy;
import io.nccl4j.oracle.BlockScaledFp8;
import io.nccl4j.oracle.CombinedRows;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.oracle.ExpertMajorMode;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.LayerOracle;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.ReceiveBudget;
import io.nccl4j.oracle.RowFunction;
import io.nccl4j.oracle.Rows;
import io.nccl4j.oracle.RowsWritten;
import io.nccl4j.oracle.Source;
import java.nio.ByteBuffer;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The rows of a layer, between host and device, whichever tensors it works on: loads a batch, computes experts, and
 * compares what came out with the oracle. The experts are a function in Java that runs in stream order: received rows
 * are copied to pinned memory, computed on by the host, and copied back. So a step is right on a GPU as on the
 * emulator, and can be captured.
 */
public final class LayerRows implements AutoCloseable {
    /** The byte that {@link #spoil} fills outputs with. */
    public static final byte UNTOUCHED = 0x5a;

    private final EpHandle handle;
    private final CudaStream stream;
    private final LayerCalls calls;
    private final BufferConfig rows;
    private final RowFunction experts;
    private final LayerKind kind;
    private final EpShape shape;
    private final int rank;
    private final Map<EpTensor, HostMirror> mirrors = new IdentityHashMap<>();
    private final ReceivedRows received;
    private ExpertMajorMode mode;

    /** @param experts see rows as they are */
    public LayerRows(EpHandle handle, LayerCalls calls, BufferConfig rows, RowFunction experts, CudaStream stream) {
        this.stream = stream;
        this.handle = handle;
        this.calls = calls;
        this.rows = rows;
        this.experts = experts;
        EpGroup group = handle.group();
        kind = LayerKind.of(handle);
        shape = LayerKind.shape(group, handle.topK());
        rank = group.communicator().rank();
        ExpertMajorMode direct = shape.teams() > 1 ? ExpertMajorMode.NVLINK_DUP : ExpertMajorMode.LOCAL_DUP;
        mode = group.config().zeroCopy() == ZeroCopy.ON ? direct : ExpertMajorMode.LOCAL_PERMUTE;
        boolean done = false;
        try {
            calls.tensors().forEach(this::mirror);
            received = new ReceivedRows(kind, shape, rank, calls, this::mirror);
            done = true;
        } finally {
            if (!done) {
                close();
            }
        }
    }

    /** The host's side of a tensor of this layer; null of null. */
    public @Nullable HostMirror mirror(@Nullable EpTensor tensor) {
        return tensor == null ? null : mirrors.computeIfAbsent(tensor, HostMirror::new);
    }

    public EpShape shape() {
        return shape;
    }

    public EpHandle handle() {
        return handle;
    }

    /** The explicit calls. */
    public LayerCalls calls() {
        return calls;
    }

    /** This rank's tokens in a batch. */
    public int count(EpCase batch) {
        return batch.inputs().routing().tokens(rank);
    }

    /** Which of several weights for one expert survives is open in high throughput: there they are made one. */
    private GlobalInputs inputs(EpCase batch) {
        return (kind.isLowLatency() ? batch : batch.withOneWeightPerExpert()).inputs();
    }

    /** How high throughput brings a token to several experts of a rank, if the library's environment has changed it. */
    public void mode(ExpertMajorMode value) {
        mode = value;
    }

    /** Enqueues the copy of a batch into the tensors; rows behind it route nothing. The stream must be idle. */
    public void load(EpCase batch) {
        load(rows.dispatchRecipe() == DispatchRecipe.QUANT_FWD ? received(batch) : inputs(batch));
        // No result may be one of a former step.
        calls.combineOutputs().tokens().memory().fillAsync(UNTOUCHED, stream);
    }

    /** The same with rows as they are. */
    public void load(GlobalInputs sent) {
        HostMirror routing = mirror(calls.routing());
        HostMirror weights = mirror(calls.weights());
        HostMirror tokens = mirror(calls.inputs().tokens());
        HostMirror scales = mirror(calls.inputs().scales());
        routing.host().fill((byte) -1);
        weights.host().fill((byte) -1);
        for (Source source : sent.routing().sources(rank)) {
            tokens.row(source.token(), sent.token(source));
            if (scales != null) {
                scales.row(source.token(), sent.scales(source));
            }
            for (int k = 0; k < shape.topK(); k++) {
                long at = (long) source.token() * shape.topK() + k;
                routing.integer(at, sent.routing().expert(source, k));
                weights.floats(at, sent.weights(source)[k]);
            }
        }
        HostMirror.toDevice(stream, routing, weights, tokens, scales);
    }

    /**
     * Enqueues the filling of all outputs. Peers write into windows: all ranks must have done it before one dispatches.
     */
    public void spoil() {
        calls.written().forEach(output -> output.memory().fillAsync(UNTOUCHED, stream));
    }

    /** Enqueues the layer's experts. */
    public void experts(CudaStream on) {
        experts(experts, on);
    }

    /** Enqueues other experts on the rows that were received. */
    public void experts(RowFunction function, CudaStream on) {
        HostMirror outputs = mirror(calls.combineInputs().tokens());
        HostMirror scales = mirror(calls.combineInputs().scales());
        received.mirrors().forEach(mirror -> mirror.toHost(on));
        on.launchHostFunction(() -> received.forEach((zone, row) -> {
            byte[] output = received.output(zone, row, function);
            outputs.row(row, output);
            if (scales != null) {
                scales.floats(row, LayerOracle.outputScale(output));
            }
        }));
        HostMirror.toDevice(on, outputs, scales);
    }

    /**
     * Everything received with the rows in use when the experts ran last, zone by zone, to compare runs by. Sorted
     * where the order within a zone is open.
     */
    public List<List<ByteBuffer>> received() {
        return received.bytes();
    }

    /** The combined rows; the stream must be idle. */
    public Rows combined() {
        return mirror(calls.combineOutputs().tokens()).fetch().rows();
    }

    /** Compares what the last step has given, in all rows in use; the stream must be idle. */
    public void verify(EpCase batch) {
        verify(received(batch), written(), null);
    }

    /** The same with the rows that are not in use, where outputs were {@link #spoil spoilt} before. */
    public void verifyAll(EpCase batch) {
        verify(received(batch), written(), UNTOUCHED);
    }

    private RowsWritten written() {
        return calls.outputs().tokens().isInWindow() ? RowsWritten.WINDOW : RowsWritten.COUNT;
    }

    /**
     * The same for inputs as they are received.
     *
     * @param written which rows a dispatch of high throughput writes
     * @param untouched what outputs were filled with before; null for no check of rows that are not in use
     */
    public void verify(GlobalInputs inputs, RowsWritten written, @Nullable Byte untouched) {
        LayerOracle oracle = oracle(inputs);
        oracle.verifyReceived(rank, received.fetch(), written, untouched);
        CombinedRows.verify(oracle.combined(rank), combined());
    }

    /** Compares the combined rows behind a batch on tensors of T rows: zeros, and what {@link #spoil} has left. */
    public void verifyBehind(int count) {
        int rowsOfCall = (int) calls.combineOutputs().tokens().rows();
        Rows combined = combined();
        combined.verifyFilled(count, rowsOfCall, (byte) 0, "combined, tokens that route nothing");
        combined.verifyFilled(rowsOfCall, combined.count(), UNTOUCHED, "combined, unused rows");
    }

    /** Rows that a caller quantises are e4m3 with a float scale per block, as those that dispatch quantises. */
    private GlobalInputs received(EpCase batch) {
        boolean rounded = calls.dispatchConfig() != null && calls.dispatchConfig().hasRoundScales();
        return rows.dispatchRecipe() == DispatchRecipe.NONE
                ? inputs(batch)
                : BlockScaledFp8.quantise(inputs(batch), rounded);
    }

    /** The whole layer for inputs as they are received. */
    public LayerOracle oracle(GlobalInputs inputs) {
        return oracle(inputs, experts);
    }

    /** The same with other experts. */
    public LayerOracle oracle(GlobalInputs inputs, RowFunction function) {
        EpGroupConfig config = handle.group().config();
        int most = (int) handle.group().sizing().receiveRows();
        ReceiveBudget budget = config.isEager()
                ? ReceiveBudget.eager()
                : config.overflow() == OverflowPolicy.DROP
                        ? ReceiveBudget.dropping(most)
                        : ReceiveBudget.trapping(most);
        return new LayerOracle(kind.isLowLatency(), kind.layout(), inputs.inTeams(shape.teams()),
                NumberFormat.valueOf(rows.type().name()), rows.hidden(), function, budget, mode, handle.alignment(),
                rows.combineRecipe() == CombineRecipe.NVFP4);
    }

    @Override
    public void close() {
        mirrors.values().forEach(HostMirror::close);
    }
}
