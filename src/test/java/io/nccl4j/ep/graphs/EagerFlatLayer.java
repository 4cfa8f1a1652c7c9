package io.nccl4j.ep.graphs;

import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.testing.ExpertFunction;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;

/** A FLAT layer of an eager group: outputs have room for all that can come, and per step the rows of what does. */
final class EagerFlatLayer implements AutoCloseable {
    private final MoeRank of;
    private final Deque<DeviceMemory> tensors = new ArrayDeque<>();
    private final MoeLayer layer;
    final LayerCalls calls;
    private final DeviceMemory hiddenStates;
    private final PinnedMemory hostTotal;
    /** Tokens of the batch that was loaded. */
    int count;

    EagerFlatLayer(MoeRank of, EpHandle handle) {
        this.of = of;
        calls = calls(handle);
        layer = new MoeLayer(handle, calls, of.rows(), ExpertFunction.scaling().onRows(of.rows()), of.stream());
        hiddenStates = DeviceMemory.allocate(of.device(), calls.inputs().tokens().byteSize());
        hostTotal = PinnedMemory.allocate(of.device(), Integer.BYTES);
    }

    private LayerCalls calls(EpHandle handle) {
        EpShape shape = of.shape();
        long most = shape.maxTokens();
        long rows = of.group().sizing().receiveRows();
        DataType type = of.rows().type();
        int hidden = of.rows().hidden();
        EpTensor weights = tensor(DataType.FLOAT32, most, shape.topK());
        return new LayerCalls(tensor(DataType.INT64, most, shape.topK()), weights,
                LayoutInfo.builder().expertCounters(tensor(DataType.INT32, shape.localExperts()))
                        .receivedTotal(tensor(DataType.INT32, 1)).build(),
                null, DispatchInputs.of(tensor(type, most, hidden), weights),
                DispatchOutputs.of(tensor(type, rows, hidden), tensor(DataType.FLOAT32, rows, shape.topK()),
                        tensor(DataType.INT64, rows, shape.topK())),
                CombineInputs.of(tensor(type, rows, hidden)), CombineOutputs.of(tensor(type, most, hidden)), null,
                null);
    }

    private EpTensor tensor(DataType type, long... extents) {
        long bytes = type.bytes(Arrays.stream(extents).reduce(1, (a, b) -> a * b));
        tensors.push(DeviceMemory.allocate(of.device(), Math.max(256, bytes)));
        return EpTensor.of(tensors.getFirst(), type, extents);
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
        layer.experts();
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
        tensors.forEach(DeviceMemory::close);
    }
}
