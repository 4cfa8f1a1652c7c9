package io.nccl4j.benchmarks.test;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.benchmarks.test.TestTensors.Mirrored;
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
final class FlatSide extends HighThroughputSide {
    private final Mirrored counters;
    private final @Nullable Mirrored indices;

    FlatSide(CellCase of, int rank, TestTensors tensors) {
        super(of, rank, tensors, capacity(of), capacity(of), of.shape().topK());
        counters = tensors.output(DataType.INT32, of.shape().localExperts());
        indices = isForward() ? tensors.output(DataType.INT64, capacity(of), of.shape().topK()) : null;
        calls(LayoutInfo.builder().expertCounters(counters.tensor()).receivedTotal(total.tensor()).build(),
                of.globalIds() && isForward() ? LayoutInfo.builder().expertIds(ExpertIds.GLOBAL).build() : null,
                weights, indices);
    }

    private static long capacity(CellCase of) {
        return of.budget().fixed() ? of.budget().rows() : (long) of.shape().ranks() * of.shape().maxTokens();
    }

    @Override
    @Nullable
    Mirrored indices() {
        return indices;
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
    void verify(Round round, RowsWritten written) {
        HighThroughputFlat.Received expected = HighThroughputFlat.dispatch(round.received(), slots(round), rank);
        expected.verifyCounters(counters.mirror().host().toArray(JAVA_INT), total());
        expected.verify(
                new HighThroughputFlat.Outputs(receivedTokens(), receivedScales(),
                        indices == null ? null : indices.mirror().host().toArray(JAVA_LONG),
                        indices == null ? null : weights.mirror().host().toArray(JAVA_FLOAT)),
                of.globalIds(), written, TestTensors.UNTOUCHED);
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
