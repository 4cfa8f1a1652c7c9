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
import io.nccl4j.oracle.RowsWritten;
import io.nccl4j.testing.ExpertFunction;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** A FLAT layer of an eager group: outputs have room for all that can come, and per step the rows of what does. */
final class EagerFlatLayer implements AutoCloseable {
    private final MoeRank of;
    private final MoeLayer layer;
    private final LayerCalls calls;
    private final DeviceMemory hiddenStates;
    private final PinnedMemory hostTotal;
    private final List<DeviceMemory> memory = new ArrayList<>();
    private final List<EpTensor> sized;
    /** Tokens of the batch that was loaded. */
    int count;

    EagerFlatLayer(MoeRank of, EpHandle handle) {
        this.of = of;
        int most = of.shape().maxTokens();
        int all = most * of.shape().ranks();
        int hidden = of.rows().hidden();
        int topK = of.shape().topK();
        DataType type = of.rows().type();
        EpTensor weights = tensor(DataType.FLOAT32, most, topK);
        DispatchInputs inputs = DispatchInputs.of(tensor(type, most, hidden), weights);
        DispatchOutputs outputs = DispatchOutputs.of(tensor(type, all, hidden), tensor(DataType.FLOAT32, all, topK),
                tensor(DataType.INT64, all, topK));
        EpTensor expertOutputs = tensor(type, all, hidden);
        LayoutInfo info = LayoutInfo.builder().expertCounters(tensor(DataType.INT32, of.shape().localExperts()))
                .receivedTotal(tensor(DataType.INT32, 1)).build();
        calls = new LayerCalls(tensor(DataType.INT64, most, topK), weights, info, null, inputs, outputs,
                CombineInputs.of(expertOutputs), CombineOutputs.of(tensor(type, most, hidden)), null, null);
        layer = new MoeLayer(handle, calls, of.rows(), ExpertFunction.scaling());
        sized = List.of(outputs.tokens(), outputs.weights(), outputs.indices(), expertOutputs);
        hiddenStates = allocate(inputs.tokens().byteSize());
        hostTotal = PinnedMemory.allocate(of.device(), Integer.BYTES);
    }

    private EpTensor tensor(DataType type, long... shape) {
        return EpTensor.of(allocate(type.bytes(Arrays.stream(shape).reduce(1, Math::multiplyExact))), type, shape);
    }

    private DeviceMemory allocate(long bytes) {
        memory.add(DeviceMemory.allocate(of.device(), bytes));
        return memory.getLast();
    }

    DispatchInputs inputs() {
        return calls.inputs();
    }

    DispatchOutputs outputs() {
        return calls.outputs();
    }

    void load(EpCase batch) {
        layer.load(batch, of.stream());
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
        sized.forEach(tensor -> tensor.rows(hostTotal.segment().get(JAVA_INT, 0)));
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
        layer.verify(batch, RowsWritten.COUNT, null);
    }

    @Override
    public void close() {
        layer.close();
        hostTotal.close();
        memory.forEach(DeviceMemory::close);
    }
}
