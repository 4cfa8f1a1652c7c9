package io.nccl4j.benchmarks.test;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import io.nccl4j.benchmarks.test.TestTensors.Mirrored;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineRecipe;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.ep.PassDirection;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.Rows;
import io.nccl4j.oracle.RowsWritten;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The receiving side of a rank in one layout: the tensors that dispatch writes and combine reads, the experts between
 * them, and what the oracle expects.
 */
abstract class ReceiveSide {
    final CellCase of;
    final int rank;
    /** Received tokens. */
    final Mirrored tokens;
    /** Received scales, if there are any. */
    final @Nullable Mirrored scales;
    /** What the experts give to combine. */
    final Mirrored expertRows;
    /** The rows' scales, if combine quantises. */
    final @Nullable Mirrored expertScales;
    @Nullable
    LayoutInfo updateInfo;
    @Nullable
    LayoutInfo dispatchInfo;
    DispatchOutputs dispatchOutputs;
    CombineInputs combineInputs;

    /** @param rows extents of what comes before the elements of a row */
    ReceiveSide(CellCase of, int rank, TestTensors tensors, long... rows) {
        this.of = of;
        this.rank = rank;
        Wire wire = of.cell().wire();
        tokens = tensors.sharedOutput(of.windows(), wire.receivedType(), extents(rows, wire.elements(of.hidden())));
        DataType scaleType = wire.scaleType();
        scales = scaleType == null
                ? null
                : tensors.sharedOutput(of.windows(), scaleType, extents(rows, wire.scales(of.hidden())));
        expertScales = wire.combineRecipe() == CombineRecipe.NVFP4
                ? tensors.input(DataType.FLOAT32, extents(rows, 1))
                : null;
        expertRows = tensors.sharedInput(of.windows() && !of.cell().shape().isLowLatency(), wire.combineType(),
                extents(rows, of.hidden()));
    }

    static ReceiveSide of(CellCase of, int rank, TestTensors tensors) {
        return switch (of.cell().shape()) {
            case LL_EXPERT_MAJOR -> new ZoneSide(of, rank, tensors);
            case LL_RANK_MAJOR -> new RegionSide(of, rank, tensors);
            case HT_FLAT -> new FlatSide(of, rank, tensors);
            case HT_EXPERT_MAJOR -> new PaddedZoneSide(of, rank, tensors);
        };
    }

    static long[] extents(long[] rows, long elements) {
        long[] extents = Arrays.copyOf(rows, rows.length + 1);
        extents[rows.length] = elements;
        return extents;
    }

    /**
     * Names what the calls are given.
     *
     * @param update null for low latency
     * @param dispatch null for C's {@code NULL}
     * @param weights received with the rows; backward, given to combine
     * @param indices received with the rows
     */
    final void calls(@Nullable LayoutInfo update, @Nullable LayoutInfo dispatch, @Nullable Mirrored weights,
            @Nullable Mirrored indices) {
        updateInfo = update;
        dispatchInfo = dispatch;
        dispatchOutputs = DispatchOutputs.of(tokens.tensor(), isForward() ? tensor(weights) : null, tensor(indices),
                tensor(scales));
        combineInputs = CombineInputs.of(expertRows.tensor(), isForward() ? null : tensor(weights),
                tensor(expertScales));
    }

    static @Nullable EpTensor tensor(@Nullable Mirrored mirrored) {
        return mirrored == null ? null : mirrored.tensor();
    }

    /** Without a budget: sizes the tensors from the counters, which are on the host. */
    void sizeFromCounters() {
        throw new IllegalStateException("only high throughput has groups without a budget");
    }

    /** Runs the experts on the rows that are on the host. */
    abstract void compute();

    /** Enqueues the copies of what the experts give to combine. */
    final void uploadExpertRows(CudaStream stream) {
        expertRows.mirror().toDevice(stream);
        if (expertScales != null) {
            expertScales.mirror().toDevice(stream);
        }
    }

    /** Backward: puts gradients where the rows of {@code round} will be. */
    void prepareBackward(Round round) {
        throw new IllegalStateException("only high throughput has a backward pass");
    }

    /** Backward: enqueues the copy of the gradients of weights. */
    void uploadGradients(CudaStream stream) {
        throw new IllegalStateException("only high throughput has a backward pass");
    }

    /** Checks everything that dispatch has written. */
    abstract void verify(Round round, RowsWritten written);

    /** What combine must give. */
    abstract byte[][] expected(Round round);

    /** Backward: what combine must give as gradients of the weights. */
    float[][] expectedWeights(Round round) {
        throw new IllegalStateException("only high throughput has a backward pass");
    }

    boolean isForward() {
        return of.cell().direction() == PassDirection.FORWARD;
    }

    Rows receivedTokens() {
        return rows(tokens);
    }

    @Nullable
    Rows receivedScales() {
        return scales == null ? null : rows(scales);
    }

    /** All rows of a tensor as they are on the host. */
    static Rows rows(Mirrored tensor) {
        return new Rows(tensor.mirror().host().toArray(JAVA_BYTE), rowBytes(tensor));
    }

    /** Bytes of the innermost extent. */
    static int rowBytes(Mirrored tensor) {
        long[] shape = tensor.tensor().shape();
        return (int) (shape[shape.length - 1] * tensor.tensor().type().byteSize());
    }

    /** Runs an expert, or a rank's experts together, on the received row {@code index}. */
    void compute(int owner, long index) {
        byte[] received = new byte[rowBytes(tokens)];
        MemorySegment.copy(tokens.mirror().host(), JAVA_BYTE, index * received.length, received, 0, received.length);
        put(owner, received, index);
    }

    /** Puts the output for a row into place. */
    void put(int owner, byte[] received, long index) {
        byte[] output = output(owner, received);
        if (expertScales != null) {
            expertScales.mirror().host().setAtIndex(JAVA_FLOAT, index, TestExperts.scale(output));
        }
        MemorySegment.copy(output, 0, expertRows.mirror().host(), JAVA_BYTE, index * output.length, output.length);
    }

    /** What an expert, or a rank's experts together, make of a row. */
    byte[] output(int owner, byte[] received) {
        return TestExperts.row(owner, received, of.cell().wire().combineFormat(), of.hidden());
    }
}
