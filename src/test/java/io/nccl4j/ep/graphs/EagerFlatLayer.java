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
import io.nccl4j.oracle.CombinedRows;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.FlatSlots;
import io.nccl4j.oracle.ExpertMajorMode;
import io.nccl4j.oracle.HighThroughputFlat;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.ReceiveBudget;
import io.nccl4j.oracle.Rows;
import io.nccl4j.oracle.RowsWritten;
import io.nccl4j.testing.ExpertFunction;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.LayerOracle;
import io.nccl4j.testing.MoeRank;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/** A FLAT layer of an eager group: outputs have room for all that can come, and per step the rows of what does. */
final class EagerFlatLayer implements AutoCloseable {
    private final MoeRank of;
    private final EpHandle handle;
    private final List<DeviceMemory> memory = new ArrayList<>();
    private static final ExpertFunction EXPERTS = ExpertFunction.scaling();

    private final int topK;
    private final int rowBytes;
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
        int most = of.shape().maxTokens();
        int all = most * of.shape().ranks();
        int hidden = of.rows().hidden();
        DataType type = of.rows().type();
        topK = of.shape().topK();
        rowBytes = (int) type.bytes(hidden);
        hiddenStates = tensor(type, most, hidden);
        tokens = tensor(type, most, hidden);
        routing = tensor(DataType.INT64, most, topK);
        weights = tensor(DataType.FLOAT32, most, topK);
        received = tensor(type, all, hidden);
        receivedWeights = tensor(DataType.FLOAT32, all, topK);
        receivedIndices = tensor(DataType.INT64, all, topK);
        expertOutputs = tensor(type, all, hidden);
        combined = tensor(type, most, hidden);
        counts = tensor(DataType.INT32, of.shape().localExperts());
        total = tensor(DataType.INT32, 1);
        hostTotal = PinnedMemory.allocate(of.device(), Integer.BYTES);
        info = LayoutInfo.builder().expertCounters(counts).receivedTotal(total).build();
        inputs = DispatchInputs.of(tokens, weights);
        outputs = DispatchOutputs.of(received, receivedWeights, receivedIndices);
        combineInputs = CombineInputs.of(expertOutputs);
        combineOutputs = CombineOutputs.of(combined);
    }

    private EpTensor tensor(DataType type, long... shape) {
        long bytes = type.bytes(Arrays.stream(shape).reduce(1, Math::multiplyExact));
        DeviceMemory block = DeviceMemory.allocate(of.device(), bytes);
        memory.add(block);
        return EpTensor.of(block, type, shape);
    }

    void load(EpCase batch) {
        of.stream().await(MoeRank.LIMIT);
        int self = of.rank();
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
            int first = of.rank() * of.shape().localExperts();
            long[] ids = device(receivedIndices).toArray(JAVA_LONG);
            float[] factors = device(receivedWeights).toArray(JAVA_FLOAT);
            for (int row = 0; row < device(total).get(JAVA_INT, 0); row++) {
                byte[] in = device(received).asSlice((long) row * rowBytes, rowBytes).toArray(JAVA_BYTE);
                int from = row * topK;
                int[] chosen = IntStream.range(from, from + topK).filter(at -> ids[at] >= 0).toArray();
                byte[] out = EXPERTS.sum(Arrays.stream(chosen).map(at -> first + (int) ids[at]).toArray(),
                        floats(Arrays.stream(chosen).mapToObj(at -> factors[at]).toList()), in, format());
                MemorySegment.copy(out, 0, device(expertOutputs), JAVA_BYTE, (long) row * rowBytes, rowBytes);
            }
        });
    }

    void combine(CudaStream stream) {
        combined.rows(count);
        handle.combine(combineInputs, combineOutputs, stream);
    }

    /** Compares what the last step has given. */
    void verify(EpCase batch) {
        of.await();
        long rows = received.rows();
        LayerOracle oracle = new LayerOracle(LayerKind.HT_FLAT, batch.inputs(), batch.format(), batch.hidden(), EXPERTS,
                ReceiveBudget.eager(), ExpertMajorMode.LOCAL_PERMUTE, 1, false);
        HighThroughputFlat.Received expected = HighThroughputFlat.dispatch(batch.inputs(),
                new FlatSlots(batch.inputs().routing(), ReceiveBudget.eager()), of.rank());
        expected.verifyCounters(device(counts).toArray(JAVA_INT), (long) device(total).get(JAVA_INT, 0));
        expected.verify(
                new HighThroughputFlat.Outputs(rows(received, rows), null,
                        device(receivedIndices).asSlice(0, rows * topK * Long.BYTES).toArray(JAVA_LONG),
                        device(receivedWeights).asSlice(0, rows * topK * Float.BYTES).toArray(JAVA_FLOAT)),
                false, RowsWritten.WINDOW, null);
        CombinedRows.verify(oracle.combined(of.rank()), rows(combined, count));
    }

    private Rows rows(EpTensor tensor, long count) {
        return new Rows(device(tensor).asSlice(0, count * rowBytes).toArray(JAVA_BYTE), rowBytes);
    }

    private NumberFormat format() {
        return NumberFormat.valueOf(of.rows().type().name());
    }

    private static float[] floats(List<Float> values) {
        float[] all = new float[values.size()];
        for (int i = 0; i < all.length; i++) {
            all[i] = values.get(i);
        }
        return all;
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
