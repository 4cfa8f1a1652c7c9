package io.nccl4j.benchmarks.test;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import io.nccl4j.benchmarks.test.TestTensors.Mirrored;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.oracle.ExpertMajorSlots;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.HighThroughputExpertMajor;
import io.nccl4j.oracle.RowsWritten;
import io.nccl4j.oracle.Source;

/** High throughput, EXPERT_MAJOR. */
final class PaddedZoneSide extends HighThroughputSide {
    private final int zones;
    private final Mirrored counters;
    private final Mirrored offsets;

    PaddedZoneSide(CellCase of, int rank, TestTensors tensors) {
        super(of, rank, tensors, capacity(of), capacity(of));
        zones = of.shape().localExperts();
        counters = tensors.output(counterType(), zones);
        offsets = tensors.output(counterType(), zones);
        calls(LayoutInfo.builder().expertCounters(counters.tensor()).expertOffsets(offsets.tensor())
                .receivedTotal(total.tensor()).build(), null, weights, null);
    }

    private static long capacity(CellCase of) {
        return of.budget().fixed()
                ? of.budget().rows()
                : (long) of.shape().ranks() * of.shape().maxTokens() * of.shape().topK()
                        + (long) of.shape().localExperts() * of.alignment();
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
        return new ExpertMajorSlots(round.received().routing(), of.budget(), of.expertMajorMode(), of.alignment());
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
    void verify(Round round, RowsWritten written) {
        HighThroughputExpertMajor.Received expected = HighThroughputExpertMajor.dispatch(round.received(), slots(round),
                rank);
        expected.verifyCounters(read(counters), read(offsets), total());
        expected.verify(
                new HighThroughputExpertMajor.Outputs(receivedTokens(), receivedScales(),
                        isForward() ? weights.mirror().host().toArray(JAVA_FLOAT) : null),
                written, TestTensors.UNTOUCHED);
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
