package io.nccl4j.safety;

import io.nccl4j.ep.EpBuffers;
import io.nccl4j.oracle.CombinedRows;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.ExpertMajorMode;
import io.nccl4j.oracle.ExpertMajorSlots;
import io.nccl4j.oracle.FlatSlots;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.HighThroughputExpertMajor;
import io.nccl4j.oracle.HighThroughputFlat;
import io.nccl4j.oracle.LowLatencyExpertMajor;
import io.nccl4j.oracle.LowLatencyRankMajor;
import io.nccl4j.oracle.ReceiveBudget;
import io.nccl4j.oracle.Rows;
import io.nccl4j.oracle.RowsWritten;
import java.util.Arrays;

/** What a batch must give on a rank of a {@link Layer}. */
record LayerOracle(LayerShape kind, EpCase batch, int rank, long budgetRows) {
    void verify(Layer layer) {
        EpBuffers buffers = layer.buffers;
        GlobalInputs inputs = batch.inputs();
        Rows received = new Rows(Layer.bytes(buffers.received()), layer.rowBytes());
        byte[][] combined = switch (kind) {
            case LL_EXPERT_MAJOR -> {
                LowLatencyExpertMajor.dispatch(inputs, rank).verify(received, null,
                        Layer.ints(buffers.expertCounts()), null);
                yield LowLatencyExpertMajor.combine(inputs.routing(), rank, inputs.weights()[rank],
                        (expert, source) -> inputs.token(source), batch.format(), batch.hidden());
            }
            case LL_RANK_MAJOR -> {
                verifyRegions(layer, received);
                yield LowLatencyRankMajor.combine(inputs.routing(), rank, (from, source) -> inputs.token(source),
                        batch.format(), batch.hidden());
            }
            case HT_FLAT -> {
                FlatSlots slots = new FlatSlots(inputs.routing(), ReceiveBudget.trapping((int) budgetRows));
                HighThroughputFlat.Received expected = HighThroughputFlat.dispatch(inputs, slots, rank);
                expected.verifyCounters(Layer.ints(buffers.expertCounts()),
                        (long) Layer.ints(buffers.receivedTotal())[0]);
                expected.verify(new HighThroughputFlat.Outputs(received, null, Layer.longs(buffers.receivedIndices()),
                        Layer.floats(buffers.receivedWeights())), false, RowsWritten.WINDOW, null);
                yield HighThroughputFlat.combine(slots, rank, (from, source) -> inputs.token(source), batch.format(),
                        batch.hidden());
            }
            case HT_EXPERT_MAJOR -> {
                ExpertMajorSlots slots = new ExpertMajorSlots(inputs.routing(),
                        ReceiveBudget.trapping((int) budgetRows),
                        ExpertMajorMode.LOCAL_PERMUTE,
                        layer.handle.alignment());
                HighThroughputExpertMajor.Received expected = HighThroughputExpertMajor.dispatch(inputs, slots, rank);
                expected.verifyCounters(wide(Layer.ints(buffers.expertCounts())),
                        wide(Layer.ints(buffers.expertOffsets())), (long) Layer.ints(buffers.receivedTotal())[0]);
                expected.verify(new HighThroughputExpertMajor.Outputs(received, null,
                        Layer.floats(buffers.receivedWeights())), RowsWritten.WINDOW, null);
                yield HighThroughputExpertMajor.combine(slots, rank, (expert, source) -> inputs.token(source),
                        batch.format(), batch.hidden());
            }
        };
        CombinedRows.verify(combined, new Rows(Layer.bytes(buffers.combined()), layer.rowBytes()));
    }

    private static long[] wide(int[] values) {
        return Arrays.stream(values).asLongStream().toArray();
    }

    private void verifyRegions(Layer layer, Rows received) {
        int[] counts = Layer.ints(layer.buffers.sourceRankCounts());
        int[] indices = Layer.ints(layer.buffers.receivedIndices());
        LowLatencyRankMajor.dispatch(batch.inputs(), rank).verify(received, null, indices,
                Layer.floats(layer.buffers.receivedWeights()), counts, false, null);
    }
}
