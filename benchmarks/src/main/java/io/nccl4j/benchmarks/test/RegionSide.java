package io.nccl4j.benchmarks.test;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.benchmarks.test.TestTensors.Mirrored;
import io.nccl4j.ep.ExpertIds;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.LowLatencyRankMajor;
import io.nccl4j.oracle.RankOutputs;
import io.nccl4j.oracle.RowsWritten;

/** Low latency, RANK_MAJOR. */
final class RegionSide extends ReceiveSide {
    private final Mirrored counters;
    private final Mirrored indices;
    private final Mirrored weights;

    RegionSide(CellCase of, int rank, TestTensors tensors) {
        super(of, rank, tensors, of.shape().ranks(), of.shape().maxTokens());
        long ranks = of.shape().ranks();
        counters = tensors.output(DataType.INT32, ranks);
        indices = tensors.output(DataType.INT32, ranks, of.shape().maxTokens(), of.shape().topK());
        weights = tensors.output(DataType.FLOAT32, ranks, of.shape().maxTokens(), of.shape().topK());
        calls(null, LayoutInfo.builder().sourceRankCounters(counters.tensor())
                .expertIds(of.globalIds() ? ExpertIds.GLOBAL : ExpertIds.AUTO).build(), weights, indices);
    }

    @Override
    void compute() {
        for (int source = 0; source < of.shape().ranks(); source++) {
            int rows = counters.mirror().host().getAtIndex(JAVA_INT, source);
            for (int i = 0; i < rows; i++) {
                compute(rank, (long) source * of.shape().maxTokens() + i);
            }
        }
    }

    @Override
    void verify(Round round, RowsWritten written) {
        LowLatencyRankMajor.dispatch(round.received(), rank).verify(receivedTokens(), receivedScales(),
                indices.mirror().host().toArray(JAVA_INT), weights.mirror().host().toArray(JAVA_FLOAT),
                counters.mirror().host().toArray(JAVA_INT), of.globalIds(), TestTensors.UNTOUCHED);
    }

    @Override
    byte[][] expected(Round round) {
        GlobalInputs received = round.received();
        RankOutputs outputsOf = (owner, source) -> output(owner, received.token(source));
        if (expertScales != null) {
            return LowLatencyRankMajor.combineNvfp4(received.routing(), rank, outputsOf, TestExperts::scale,
                    of.hidden());
        }
        return LowLatencyRankMajor.combine(received.routing(), rank, outputsOf, of.cell().wire().combineFormat(),
                of.hidden());
    }
}
