package io.nccl4j.ep.graphs;

import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.OwnTensors;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.ExpertFunction;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerRows;
import io.nccl4j.testing.MoeRank;

/** A FLAT layer of an eager group: outputs have room for all that can come, and per step the rows of what does. */
final class EagerFlatLayer implements AutoCloseable {
    private final MoeRank of;
    private final LayerRows layer;
    final LayerCalls calls;
    private final DeviceMemory hiddenStates;
    private final PinnedMemory hostTotal;
    /** Tokens of the batch that was loaded. */
    int count;

    EagerFlatLayer(MoeRank of, EpHandle handle) {
        this.of = of;
        calls = new OwnTensors(of).calls(handle, of.rows());
        layer = new LayerRows(handle, calls, of.rows(), ExpertFunction.scaling().onRows(of.rows()), of.stream());
        hiddenStates = DeviceMemory.allocate(of.device(), calls.inputs().tokens().byteSize());
        hostTotal = PinnedMemory.allocate(of.device(), Integer.BYTES);
    }

    void load(EpCase batch) {
        layer.load(batch);
        DeviceMemory tokens = calls.inputs().tokens().memory();
        hiddenStates.copyFromAsync(tokens, hiddenStates.byteSize(), of.stream());
        tokens.fillAsync((byte) 0, of.stream());
        of.await();
        rows(layer.count(batch));
    }

    void rows(int tokens) {
        count = tokens;
        calls.rows(tokens);
    }

    void attention(CudaStream stream) {
        calls.inputs().tokens().memory().copyFromAsync(hiddenStates, hiddenStates.byteSize(), stream);
    }

    void route(CudaStream stream) {
        calls.update(layer.handle(), stream);
    }

    /** Outputs get the rows that the counter says. */
    void dispatch(CudaStream stream) {
        calls.counters().receivedTotal().memory().copyToAsync(hostTotal, Integer.BYTES, stream);
        stream.await(MoeRank.LIMIT);
        calls.receivedRows(hostTotal.segment().get(JAVA_INT, 0));
        calls.dispatch(layer.handle(), stream);
    }

    void experts(CudaStream stream) {
        layer.experts(stream);
    }

    void combine(CudaStream stream) {
        calls.combine(layer.handle(), stream);
    }

    /** Compares what the last step has given. */
    void verify(EpCase batch) {
        of.await();
        layer.verify(batch);
    }

    @Override
    public void close() {
        layer.close();
        hostTotal.close();
        hiddenStates.close();
    }
}
