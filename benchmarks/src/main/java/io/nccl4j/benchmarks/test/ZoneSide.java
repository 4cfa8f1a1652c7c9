package io.nccl4j.benchmarks.test;

import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.benchmarks.test.TestTensors.Mirrored;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.ExpertOutputs;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.LowLatencyExpertMajor;
import io.nccl4j.oracle.RowsWritten;

/** Low latency, EXPERT_MAJOR. */
final class ZoneSide extends ReceiveSide {
    private final Mirrored counters;
    private final int zones;
    private final int zoneRows;

    ZoneSide(CellCase of, int rank, TestTensors tensors) {
        super(of, rank, tensors, of.shape().localExperts(), (long) of.shape().ranks() * of.shape().maxTokens());
        zones = of.shape().localExperts();
        zoneRows = of.shape().ranks() * of.shape().maxTokens();
        counters = tensors.output(DataType.INT32, zones);
        calls(null, LayoutInfo.of(counters.tensor()), null, null);
    }

    @Override
    void compute() {
        for (int zone = 0; zone < zones; zone++) {
            int rows = counters.mirror().host().getAtIndex(JAVA_INT, zone);
            for (int i = 0; i < rows; i++) {
                compute(rank * zones + zone, (long) zone * zoneRows + i);
            }
        }
    }

    @Override
    void verify(Round round, RowsWritten written) {
        LowLatencyExpertMajor.dispatch(round.received(), rank).verify(receivedTokens(), receivedScales(),
                counters.mirror().host().toArray(JAVA_INT), TestTensors.UNTOUCHED);
    }

    @Override
    byte[][] expected(Round round) {
        GlobalInputs received = round.received();
        float[][][] weights = round.sent().weights();
        if (weights == null) {
            throw new IllegalStateException("combine needs weights");
        }
        ExpertOutputs outputsOf = (expert, source) -> output(expert, received.token(source));
        if (expertScales != null) {
            return LowLatencyExpertMajor.combineNvfp4(received.routing(), rank, weights[rank], outputsOf,
                    TestExperts::scale, of.hidden());
        }
        return LowLatencyExpertMajor.combine(received.routing(), rank, weights[rank], outputsOf,
                of.cell().wire().combineFormat(), of.hidden());
    }
}
