package io.nccl4j.benchmarks.test;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.benchmarks.test.TestTensors.Mirrored;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.ExpertIds;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.FlatSlots;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.HighThroughputFlat;
import io.nccl4j.oracle.RowsWritten;
import io.nccl4j.oracle.Source;
import org.jspecify.annotations.Nullable;

/** High throughput, FLAT. */
final class FlatSide extends ReceiveSide {
    private final Mirrored counters;
    private final Mirrored total;
    private final @Nullable Mirrored indices;
    private final Mirrored weights;
    private final LayoutInfo updateInfo;
    private final @Nullable LayoutInfo dispatchInfo;
    private final DispatchOutputs outputs;
    private final CombineInputs inputs;

    FlatSide(CellCase of, int rank, TestTensors tensors) {
        super(of, rank, tensors, capacity(of));
        long rows = capacity(of);
        long topK = of.shape().topK();
        counters = tensors.output(DataType.INT32, of.shape().localExperts());
        total = tensors.output(of.wideCounters() ? DataType.INT64 : DataType.INT32, 1);
        updateInfo = LayoutInfo.builder().expertCounters(counters.tensor()).receivedTotal(total.tensor()).build();
        if (isForward()) {
            indices = tensors.output(DataType.INT64, rows, topK);
            weights = tensors.output(DataType.FLOAT32, rows, topK);
            outputs = DispatchOutputs.of(tokens.tensor(), weights.tensor(), indices.tensor(),
                    scales == null ? null : scales.tensor());
            inputs = CombineInputs.of(expertRows.tensor());
        } else {
            indices = null;
            weights = tensors.input(DataType.FLOAT32, rows, topK);
            outputs = DispatchOutputs.of(tokens.tensor(), null, null, scales == null ? null : scales.tensor());
            inputs = CombineInputs.of(expertRows.tensor(), weights.tensor());
        }
        dispatchInfo = of.globalIds() && isForward() ? LayoutInfo.builder().expertIds(ExpertIds.GLOBAL).build() : null;
    }

    private static long capacity(CellCase of) {
        return of.budget().fixed() ? of.budget().rows() : (long) of.shape().ranks() * of.shape().maxTokens();
    }

    @Override
    LayoutInfo updateInfo() {
        return updateInfo;
    }

    @Override
    @Nullable
    LayoutInfo dispatchInfo() {
        return dispatchInfo;
    }

    @Override
    DispatchOutputs dispatchOutputs() {
        return outputs;
    }

    @Override
    CombineInputs combineInputs() {
        return inputs;
    }

    private long total() {
        return of.wideCounters() ? total.mirror().host().get(JAVA_LONG, 0) : total.mirror().host().get(JAVA_INT, 0);
    }

    @Override
    void sizeFromCounters() {
        long rows = total();
        tokens.tensor().rows(rows);
        expertRows.tensor().rows(rows);
        weights.tensor().rows(rows);
        if (scales != null) {
            scales.tensor().rows(rows);
        }
        if (indices != null) {
            indices.tensor().rows(rows);
        }
    }

    @Override
    void compute() {
        long rows = Math.min(total(), capacity(of));
        for (long i = 0; i < rows; i++) {
            compute(rank, i);
        }
    }

    private FlatSlots slots(Round round) {
        return new FlatSlots(round.received().routing(), of.budget());
    }

    @Override
    void prepareBackward(Round round) {
        FlatSlots slots = slots(round);
        for (Source source : slots.kept(rank)) {
            int slot = slots.slot(source, rank);
            byte[] received = round.received().token(source);
            put(rank, received, slot);
            int column = 0;
            for (int local : slots.routing().localExperts(source, rank)) {
                weights.mirror().host().setAtIndex(JAVA_FLOAT, (long) slot * of.shape().topK() + column++,
                        TestExperts.gradient(rank * of.shape().localExperts() + local, received));
            }
        }
    }

    @Override
    void uploadGradients(CudaStream stream) {
        weights.mirror().toDevice(stream);
    }

    @Override
    void verify(Round round, RowsWritten written) {
        HighThroughputFlat.Received expected = HighThroughputFlat.dispatch(round.received(), slots(round), rank);
        expected.verifyCounters(counters.mirror().host().toArray(JAVA_INT), total());
        expected.verify(new HighThroughputFlat.Outputs(receivedTokens(), receivedScales(),
                indices == null ? null : indices.mirror().host().toArray(JAVA_LONG),
                indices == null ? null : weights.mirror().host().toArray(JAVA_FLOAT)), of.globalIds(), written,
                TestTensors.UNTOUCHED);
    }

    @Override
    byte[][] expected(Round round) {
        GlobalInputs received = round.received();
        return HighThroughputFlat.combine(slots(round), rank, (owner, source) -> output(owner, received.token(source)),
                of.cell().wire().combineFormat(), of.hidden());
    }

    @Override
    float[][] expectedWeights(Round round) {
        GlobalInputs received = round.received();
        return HighThroughputFlat.combineWeights(slots(round), rank,
                (expert, source) -> TestExperts.gradient(expert, received.token(source)));
    }
}
