package io.nccl4j.testing;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.oracle.EpCase;

/**
 * A Mixture-of-Experts layer on one rank: loads a batch, enqueues dispatch, experts and combine, eagerly or captured,
 * and compares what they have given with the oracle.
 */
public final class MoeLayer implements AutoCloseable {
    private final EpBuffers buffers;
    private final boolean owner;
    private final CudaStream stream;
    private final LayerRows rows;

    /** A layer with buffers of its own and {@link ExpertFunction#scaling()}. */
    public MoeLayer(EpHandle handle, BufferConfig rows, CudaStream stream) {
        this(handle.allocateBuffers(rows), true, ExpertFunction.scaling(), stream);
    }

    /** A layer on buffers that somebody else closes. */
    public MoeLayer(EpBuffers buffers, ExpertFunction experts, CudaStream stream) {
        this(buffers, false, experts, stream);
    }

    private MoeLayer(EpBuffers buffers, boolean owner, ExpertFunction experts, CudaStream stream) {
        this.buffers = buffers;
        this.owner = owner;
        this.stream = stream;
        try {
            rows = new LayerRows(buffers.handle(), LayerCalls.of(buffers), buffers.config(),
                    experts.onRows(buffers.config()), stream);
        } catch (RuntimeException e) {
            if (owner) {
                buffers.close();
            }
            throw e;
        }
    }

    public EpHandle handle() {
        return buffers.handle();
    }

    public EpBuffers buffers() {
        return buffers;
    }

    /** The rows of the layer, which load and compare. */
    public LayerRows rows() {
        return rows;
    }

    /** This rank's tokens in a batch. */
    public int count(EpCase batch) {
        return rows.count(batch);
    }

    /** Enqueues the copy of a batch into the buffers; rows behind it route nothing. The stream must be idle. */
    public void load(EpCase batch) {
        rows.load(batch);
    }

    /**
     * Enqueues the filling of all outputs. Peers write into windows: all ranks must have done it before one dispatches.
     */
    public void spoil() {
        rows.spoil();
    }

    /** Enqueues dispatch, experts and combine with T tokens. */
    public void enqueue(int count) {
        dispatch(count);
        experts();
        combine();
    }

    /** Enqueues dispatch of T tokens. */
    public void dispatch(int count) {
        handle().dispatchAsync(buffers, count, stream);
    }

    /** Enqueues the layer's experts. */
    public void experts() {
        experts(stream);
    }

    /** The same on a stream beside the layer's. */
    public void experts(CudaStream beside) {
        rows.experts(beside);
    }

    /** Enqueues other experts on the rows that were received. */
    public void experts(ExpertFunction function) {
        rows.experts(function.onRows(buffers.config()), stream);
    }

    /** Enqueues combine. */
    public void combine() {
        handle().combineAsync(buffers, stream);
    }

    /** A graph of a step with T tokens. */
    public CudaGraphExec capture(int count) {
        try (CudaGraph graph = stream.capture(() -> enqueue(count))) {
            return graph.instantiate();
        }
    }

    /** Compares what the last step has given, in all rows in use; the stream must be idle. */
    public void verify(EpCase batch) {
        rows.verify(batch);
    }

    /** The same; of T tokens those behind the batch must be zeros after combine. */
    public void verify(EpCase batch, int count) {
        rows.verify(batch);
        rows.combined().verifyFilled(count(batch), count, (byte) 0, "combined, tokens that route nothing");
    }

    /** A batch from the host to the host, compared with the oracle. */
    public void runAndVerify(EpCase batch) {
        runAndVerify(batch, count(batch), () -> enqueue(count(batch)));
    }

    /** The same by a graph. */
    public void runAndVerify(EpCase batch, CudaGraphExec step) {
        runAndVerify(batch, count(batch), () -> step.launch(stream));
    }

    /** The same with a step of the caller's, of T tokens. */
    public void runAndVerify(EpCase batch, int count, Runnable step) {
        load(batch);
        step.run();
        stream.await(MoeRank.LIMIT);
        verify(batch, count);
    }

    /** Refused, with nothing closed, while a graph holds the buffers. */
    @Override
    public void close() {
        if (owner) {
            buffers.close();
        }
        rows.close();
    }
}
