package io.nccl4j.ep.graphs;

import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.oracle.ExpertMajorMode;
import io.nccl4j.oracle.ExpertMajorSlots;
import io.nccl4j.oracle.ExpertOutputs;
import io.nccl4j.oracle.FlatSlots;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.HighThroughputExpertMajor;
import io.nccl4j.oracle.HighThroughputFlat;
import io.nccl4j.oracle.LowLatencyExpertMajor;
import io.nccl4j.oracle.LowLatencyRankMajor;
import io.nccl4j.oracle.Mismatch;
import io.nccl4j.oracle.RankOutputs;
import io.nccl4j.oracle.ReceiveBudget;
import io.nccl4j.oracle.Routing;
import io.nccl4j.oracle.Rows;
import io.nccl4j.oracle.RowsWritten;
import io.nccl4j.oracle.Source;
import java.util.Arrays;

/** What a batch must give on a rank, computed in Java from what all ranks have sent. */
final class LayerOracle {
    private final LayerKind kind;
    private final EpCase batch;
    private final int self;
    private final EpShape shape;
    private final Quantisation quantisation;
    /** What is received. */
    private final GlobalInputs wire;
    /** The same as the experts see it. */
    private final GlobalInputs inputs;
    private final Routing routing;
    private final ReceiveBudget budget;
    private final ExpertMajorMode mode;

    LayerOracle(MoeRank of, Quantisation quantisation, EpCase batch, long budgetRows) {
        this.kind = of.kind();
        this.batch = batch;
        this.self = of.rank().rank();
        this.shape = batch.shape();
        this.quantisation = quantisation;
        this.wire = quantisation.wire(batch);
        this.inputs = quantisation.seen(batch);
        this.routing = inputs.routing();
        this.budget = ReceiveBudget.trapping((int) budgetRows);
        this.mode = ExpertMajorMode.LOCAL_PERMUTE;
    }

    void verify(LayerResult result) {
        Rows received = result.received();
        Rows scales = result.receivedScales();
        byte[][] combined = switch (kind) {
            case LL_EXPERT_MAJOR -> {
                LowLatencyExpertMajor.dispatch(wire, self).verify(received, scales, result.counts(), null);
                ExpertOutputs outputs = (expert, source) -> experts(expert).apply(shape.localId(expert),
                        inputs.token(source));
                if (quantisation == Quantisation.NVFP4_COMBINE) {
                    yield LowLatencyExpertMajor.combineNvfp4(routing, self, inputs.weights()[self], outputs,
                            this::outputScale, batch.hidden());
                }
                yield LowLatencyExpertMajor.combine(routing, self, inputs.weights()[self], outputs, batch.format(),
                        batch.hidden());
            }
            case LL_RANK_MAJOR -> {
                LowLatencyRankMajor.dispatch(wire, self).verify(received, scales, indices(result), result.weights(),
                        result.counts(),
                        false, null);
                if (quantisation == Quantisation.NVFP4_COMBINE) {
                    yield LowLatencyRankMajor.combineNvfp4(routing, self, byTopK(), this::outputScale, batch.hidden());
                }
                yield LowLatencyRankMajor.combine(routing, self, byTopK(), batch.format(), batch.hidden());
            }
            case HT_FLAT -> {
                FlatSlots slots = new FlatSlots(routing, budget);
                HighThroughputFlat.Received expected = HighThroughputFlat.dispatch(wire, slots, self);
                expected.verifyCounters(result.counts(), (long) result.total());
                expected.verify(new HighThroughputFlat.Outputs(received, scales, result.indices(), result.weights()),
                        false,
                        RowsWritten.WINDOW, null);
                yield HighThroughputFlat.combine(slots, self, byLocalId(), batch.format(), batch.hidden());
            }
            case HT_EXPERT_MAJOR -> {
                ExpertMajorSlots slots = new ExpertMajorSlots(routing, budget, mode, 1);
                HighThroughputExpertMajor.Received expected = HighThroughputExpertMajor.dispatch(wire, slots, self);
                expected.verifyCounters(Arrays.stream(result.counts()).asLongStream().toArray(),
                        Arrays.stream(result.offsets()).asLongStream().toArray(), (long) result.total());
                expected.verify(new HighThroughputExpertMajor.Outputs(received, scales, result.weights()),
                        RowsWritten.WINDOW, null);
                ExpertOutputs outputs = (expert, source) -> experts(expert).reduce(new int[]{shape.localId(expert)},
                        new float[]{weight(source, expert)}, inputs.token(source));
                yield HighThroughputExpertMajor.combine(slots, self, outputs, batch.format(), batch.hidden());
            }
        };
        Rows actual = result.combined();
        byte[] expected = Rows.of(combined, actual.rowBytes()).data();
        int at = Arrays.mismatch(expected, 0, expected.length, actual.data(), 0, expected.length);
        if (at >= 0) {
            throw new Mismatch(
                    "combined: row " + at / actual.rowBytes() + " differs at byte " + at % actual.rowBytes());
        }
        actual.verifyFilled(combined.length, actual.count(), (byte) 0, "combined, tokens that are not there");
    }

    private float outputScale(byte[] row) {
        return Quantisation.outputScale(row, batch.format());
    }

    private static int[] indices(LayerResult result) {
        return Arrays.stream(result.indices()).mapToInt(Math::toIntExact).toArray();
    }

    private Experts experts(int expert) {
        return new Experts(batch, shape.rankOf(expert));
    }

    /** Local experts in the order of the top-k list. */
    private RankOutputs byTopK() {
        return (rank, source) -> {
            int[] locals = routing.of(source.rank())[source.token()].clone();
            for (int k = 0; k < locals.length; k++) {
                locals[k] = locals[k] < 0 || shape.rankOf(locals[k]) != rank ? -1 : shape.localId(locals[k]);
            }
            return new Experts(batch, rank).reduce(locals, inputs.weights(source), inputs.token(source));
        };
    }

    /** Local experts ascending. */
    private RankOutputs byLocalId() {
        return (rank, source) -> {
            int[] locals = routing.localExperts(source, rank);
            float[] weights = new float[locals.length];
            for (int i = 0; i < weights.length; i++) {
                weights[i] = weight(source, rank * shape.localExperts() + locals[i]);
            }
            return new Experts(batch, rank).reduce(locals, weights, inputs.token(source));
        };
    }

    private float weight(Source source, int expert) {
        for (int k = 0; k < shape.topK(); k++) {
            if (routing.expert(source, k) == expert) {
                return inputs.weights(source)[k];
            }
        }
        throw new IllegalArgumentException(source + " does not go to expert " + expert);
    }
}
