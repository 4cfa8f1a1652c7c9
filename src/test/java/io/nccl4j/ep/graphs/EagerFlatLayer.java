package io.nccl4j.ep.graphs;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

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
import io.nccl4j.oracle.Rows;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** A FLAT layer of an eager group: outputs have room for all that can come, and per step the rows of what does. */
final class EagerFlatLayer implements AutoCloseable {
    private final MoeRank of;
    private final EpHandle handle;
    private final List<DeviceMemory> memory = new ArrayList<>();
    private final int topK;
    private final EpTensor hiddenStates;
    private final EpTensor tokens;
    private final EpTensor routing;
    private final EpTensor weights;
    private final EpTensor received;
    private final EpTensor receivedWeights;
    private final EpTensor receivedIndices;
    private final EpTensor expertOutputs;
    private final EpTensor combined;
    private final EpTensor counts;
    private final EpTensor total;
    private final PinnedMemory hostTotal;
    private final LayoutInfo info;
    final DispatchInputs inputs;
    final DispatchOutputs outputs;
    private final CombineInputs combineInputs;
    private final CombineOutputs combineOutputs;
    /** Tokens of the batch that was loaded. */
    int count;

    EagerFlatLayer(MoeRank of, EpHandle handle) {
        this.of = of;
        this.handle = handle;
        int most = of.model().shape().maxTokens();
        int all = most * of.model().shape().ranks();
        int hidden = of.model().hidden();
        DataType type = LayerKind.type(of.model().format());
        topK = of.model().shape().topK();
        hiddenStates = tensor(type, most, hidden);
        tokens = tensor(type, most, hidden);
        routing = tensor(DataType.INT64, most, topK);
        weights = tensor(DataType.FLOAT32, most, topK);
        received = tensor(type, all, hidden);
        receivedWeights = tensor(DataType.FLOAT32, all, topK);
        receivedIndices = tensor(DataType.INT64, all, topK);
        expertOutputs = tensor(type, all, hidden);
        combined = tensor(type, most, hidden);
        counts = tensor(DataType.INT32, of.model().shape().localExperts());
        total = tensor(DataType.INT32, 1);
        hostTotal = PinnedMemory.allocate(of.rank().device(), Integer.BYTES);
        info = LayoutInfo.builder().expertCounters(counts).receivedTotal(total).build();
        inputs = DispatchInputs.of(tokens, weights);
        outputs = DispatchOutputs.of(received, receivedWeights, receivedIndices);
        combineInputs = CombineInputs.of(expertOutputs);
        combineOutputs = CombineOutputs.of(combined);
    }

    private EpTensor tensor(DataType type, long... shape) {
        long bytes = type.bytes(Arrays.stream(shape).reduce(1, Math::multiplyExact));
        DeviceMemory block = DeviceMemory.allocate(of.rank().device(), bytes);
        memory.add(block);
        return EpTensor.of(block, type, shape);
    }

    void load(EpCase batch) {
        of.stream().await(MoeRank.LIMIT);
        int self = of.rank().rank();
        byte[][] rows = batch.inputs().tokens()[self];
        count = rows.length;
        for (int token = 0; token < count; token++) {
            MemorySegment.copy(rows[token], 0, device(hiddenStates), JAVA_BYTE, (long) token * rows[token].length,
                    rows[token].length);
            for (int k = 0; k < topK; k++) {
                device(routing).setAtIndex(JAVA_LONG, (long) token * topK + k,
                        batch.inputs().routing().of(self)[token][k]);
                device(weights).setAtIndex(JAVA_FLOAT, (long) token * topK + k,
                        batch.inputs().weights()[self][token][k]);
            }
        }
    }

    void attention(CudaStream stream) {
        tokens.memory().copyFromAsync(hiddenStates.memory(), tokens.byteSize(), stream);
    }

    void route(CudaStream stream) {
        handle.update(routing.rows(count), info, stream);
    }

    /** Outputs get the rows that the counter says. */
    void dispatch(CudaStream stream) {
        total.memory().copyToAsync(hostTotal, Integer.BYTES, stream);
        stream.await(MoeRank.LIMIT);
        int rows = hostTotal.segment().get(JAVA_INT, 0);
        received.rows(rows);
        receivedWeights.rows(rows);
        receivedIndices.rows(rows);
        expertOutputs.rows(rows);
        tokens.rows(count);
        weights.rows(count);
        handle.dispatch(inputs, outputs, null, stream);
    }

    void experts(CudaStream stream) {
        memory.forEach(stream::retain);
        stream.launchHostFunction(() -> {
            Experts experts = new Experts(of.model(), of.rank().rank());
            int rowBytes = of.model().hidden() * of.model().format().bytes();
            long[] ids = device(receivedIndices).toArray(JAVA_LONG);
            float[] factors = device(receivedWeights).toArray(JAVA_FLOAT);
            for (int row = 0; row < device(total).get(JAVA_INT, 0); row++) {
                int[] own = Arrays.stream(ids, row * topK, (row + 1) * topK).mapToInt(Math::toIntExact).toArray();
                byte[] in = device(received).asSlice((long) row * rowBytes, rowBytes).toArray(JAVA_BYTE);
                byte[] out = experts.reduce(own, Arrays.copyOfRange(factors, row * topK, (row + 1) * topK), in);
                MemorySegment.copy(out, 0, device(expertOutputs), JAVA_BYTE, (long) row * rowBytes, rowBytes);
            }
        });
    }

    void combine(CudaStream stream) {
        combined.rows(count);
        handle.combine(combineInputs, combineOutputs, stream);
    }

    LayerResult result() {
        of.stream().await(MoeRank.LIMIT);
        long rows = received.rows();
        int rowBytes = of.model().hidden() * of.model().format().bytes();
        return new LayerResult(device(counts).toArray(JAVA_INT), null, device(total).get(JAVA_INT, 0),
                new Rows(device(received).asSlice(0, rows * rowBytes).toArray(JAVA_BYTE), rowBytes), null,
                device(receivedIndices).asSlice(0, rows * topK * Long.BYTES).toArray(JAVA_LONG),
                device(receivedWeights).asSlice(0, rows * topK * Float.BYTES).toArray(JAVA_FLOAT),
                new Rows(device(combined).asSlice(0, (long) count * rowBytes).toArray(JAVA_BYTE), rowBytes));
    }

    private static MemorySegment device(EpTensor tensor) {
        return MemorySegment.ofAddress(tensor.address()).reinterpret(tensor.byteSize());
    }

    @Override
    public void close() {
        hostTotal.close();
        memory.forEach(DeviceMemory::close);
    }
}
