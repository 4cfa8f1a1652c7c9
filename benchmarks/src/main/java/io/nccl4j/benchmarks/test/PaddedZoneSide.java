package io.nccl4j.benchmarks.test;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.benchmarks.test.TestTensors.Mirrored;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.ExpertMajorSlots;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.HighThroughputExpertMajor;
import io.nccl4j.oracle.RowsWritten;
import io.nccl4j.oracle.Source;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/** High throughput, EXPERT_MAJOR. */
final class PaddedZoneSide extends ReceiveSide {
    private final int zones;
    private final Mirrored counters;
    private final Mirrored offsets;
    private final Mirrored total;
    private final Mirrored weights;
    private final LayoutInfo info;
    private final DispatchOutputs outputs;
    private final CombineInputs inputs;

    PaddedZoneSide(CellCase of, int rank, TestTensors tensors) {
        super(of, rank, tensors, capacity(of));
        zones = of.shape().localExperts();
        DataType type = of.wideCounters() ? DataType.INT64 : DataType.INT32;
        counters = tensors.output(type, zones);
        offsets = tensors.output(type, zones);
        total = tensors.output(type, 1);
        info = LayoutInfo.builder().expertCounters(counters.tensor()).expertOffsets(offsets.tensor())
                .receivedTotal(total.tensor()).build();
        if (isForward()) {
            weights = tensors.output(DataType.FLOAT32, capacity(of));
            outputs = DispatchOutputs.of(tokens.tensor(), weights.tensor(), null,
                    scales == null ? null : scales.tensor());
            inputs = CombineInputs.of(expertRows.tensor());
        } else {
            weights = tensors.input(DataType.FLOAT32, capacity(of));
            outputs = DispatchOutputs.of(tokens.tensor(), null, null, scales == null ? null : scales.tensor());
            inputs = CombineInputs.of(expertRows.tensor(), weights.tensor());
        }
    }

    private static long capacity(CellCase of) {
        return of.budget().fixed()
                ? of.budget().rows()
                : (long) of.shape().ranks() * of.shape().maxTokens() * of.shape().topK()
                        + (long) of.shape().localExperts() * of.alignment();
    }

    @Override
    LayoutInfo updateInfo() {
        return info;
    }

    @Override
    @Nullable
    LayoutInfo dispatchInfo() {
        return null;
    }

    @Override
    DispatchOutputs dispatchOutputs() {
        return outputs;
    }

    @Override
    CombineInputs combineInputs() {
        return inputs;
    }

    private long[] read(Mirrored tensor) {
        MemorySegment host = tensor.mirror().host();
        long[] values = new long[(int) tensor.tensor().rows()];
        for (int i = 0; i < values.length; i++) {
            values[i] = of.wideCounters() ? host.getAtIndex(JAVA_LONG, i) : host.getAtIndex(JAVA_INT, i);
        }
        return values;
    }

    @Override
    void sizeFromCounters() {
        long rows = read(total)[0];
        tokens.tensor().rows(rows);
        expertRows.tensor().rows(rows);
        weights.tensor().rows(rows);
        if (scales != null) {
            scales.tensor().rows(rows);
        }
    }

    @Override
    void compute() {
        long[] first = read(offsets);
        long[] rows = read(counters);
        for (int zone = 0; zone < zones; zone++) {
            for (long i = first[zone]; i < first[zone] + rows[zone]; i++) {
                compute(rank * zones + zone, i);
            }
        }
    }

    private ExpertMajorSlots slots(Round round) {
        return new ExpertMajorSlots(round.received().routing(), of.budget(), of.expertMajorMode(),
                of.alignment());
    }

    @Override
    void prepareBackward(Round round) {
        ExpertMajorSlots slots = slots(round);
        for (Source source : slots.routing().sources()) {
            byte[] received = round.received().token(source);
            for (int local : slots.routing().localExperts(source, rank)) {
                int expert = rank * zones + local;
                int slot = slots.slot(source, expert);
                if (slot >= 0) {
                    put(expert, received, slot);
                    weights.mirror().host().setAtIndex(JAVA_FLOAT, slot, TestExperts.gradient(expert, received));
                }
            }
        }
    }

    @Override
    void uploadGradients(CudaStream stream) {
        weights.mirror().toDevice(stream);
    }

    @Override
    void verify(Round round, RowsWritten written) {
        HighThroughputExpertMajor.Received expected = HighThroughputExpertMajor.dispatch(round.received(), slots(round),
                rank);
        expected.verifyCounters(read(counters), read(offsets), read(total)[0]);
        expected.verify(new HighThroughputExpertMajor.Outputs(receivedTokens(), receivedScales(),
                isForward() ? weights.mirror().host().toArray(JAVA_FLOAT) : null), written, TestTensors.UNTOUCHED);
    }

    @Override
    byte[][] expected(Round round) {
        GlobalInputs received = round.received();
        return HighThroughputExpertMajor.combine(slots(round), rank,
                (expert, source) -> output(expert, received.token(source)), of.cell().wire().combineFormat(),
                of.hidden());
    }

    @Override
    float[][] expectedWeights(Round round) {
        GlobalInputs received = round.received();
        return HighThroughputExpertMajor.combineWeights(slots(round), rank,
                (expert, source) -> TestExperts.gradient(expert, received.token(source)));
    }
}
