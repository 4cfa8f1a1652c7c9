package io.nccl4j.benchmarks.test;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.benchmarks.test.TestTensors.Mirrored;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.PassDirection;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.CombinedRows;
import io.nccl4j.oracle.Mismatch;
import io.nccl4j.oracle.Rows;
import io.nccl4j.oracle.Source;
import io.nccl4j.testing.LayerKind;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** The sending side of a rank: what it dispatches, and what comes home. */
final class SendSide {
    private final CellCase of;
    private final int rank;
    private final boolean forward;
    private final Mirrored routing;
    private final Mirrored tokens;
    private final @Nullable Mirrored scales;
    private final Mirrored weights;
    private final Mirrored combined;
    private final @Nullable Mirrored combinedWeights;
    private final DispatchInputs inputs;
    private final CombineOutputs outputs;

    SendSide(CellCase of, int rank, TestTensors tensors) {
        this.of = of;
        this.rank = rank;
        Wire wire = of.cell().wire();
        forward = of.cell().direction() == PassDirection.FORWARD;
        long most = of.shape().maxTokens();
        long topK = of.shape().topK();
        routing = tensors.input(of.wideRouting() ? DataType.INT64 : DataType.INT32, most, topK);
        tokens = tensors.input(wire.sentType(), most, wire.elements(of.hidden()));
        DataType scaleType = wire.scaleType();
        scales = scaleType == null || !wire.sendsScales()
                ? null
                : tensors.input(scaleType, most, wire.scales(of.hidden()));
        weights = tensors.input(DataType.FLOAT32, most, topK);
        combined = tensors.output(wire.combineType(), most, of.hidden());
        combinedWeights = forward ? null : tensors.output(DataType.FLOAT32, most, topK);
        boolean weightsHome = of.cell().shape() == LayerKind.LL_EXPERT_MAJOR;
        inputs = DispatchInputs.of(tokens.tensor(), weightsHome || !forward ? null : weights.tensor(),
                scales == null ? null : scales.tensor());
        EpTensor home = weightsHome ? weights.tensor() : combinedWeights == null ? null : combinedWeights.tensor();
        outputs = CombineOutputs.of(combined.tensor(), home);
    }

    EpTensor routing() {
        return routing.tensor();
    }

    DispatchInputs inputs() {
        return inputs;
    }

    CombineOutputs outputs() {
        return outputs;
    }

    /** Sets T. */
    void rows(int count) {
        routing.tensor().rows(count);
        tokens.tensor().rows(count);
        weights.tensor().rows(count);
        combined.tensor().rows(count);
        if (scales != null) {
            scales.tensor().rows(count);
        }
        if (combinedWeights != null) {
            combinedWeights.tensor().rows(count);
        }
    }

    /** Enqueues the copies of a round's inputs; beyond its tokens nothing is routed. */
    void load(Round round, CudaStream stream) {
        int topK = of.shape().topK();
        for (int token = 0; token < of.shape().maxTokens(); token++) {
            boolean real = token < round.tokens(rank);
            Source source = new Source(rank, token);
            for (int k = 0; k < topK; k++) {
                setRouting((long) token * topK + k, real ? round.sent().routing().expert(source, k) : -1);
                weights.mirror().host().setAtIndex(JAVA_FLOAT, (long) token * topK + k,
                        real ? round.sent().weights(source)[k] : Float.NaN);
            }
            if (real) {
                put(round.sent().token(source), tokens, token);
                byte[] row = round.sent().scales(source);
                if (row != null && scales != null) {
                    put(row, scales, token);
                }
            }
        }
        routing.mirror().toDevice(stream);
        weights.mirror().toDevice(stream);
        tokens.mirror().toDevice(stream);
        if (scales != null) {
            scales.mirror().toDevice(stream);
        }
    }

    private void setRouting(long index, int expert) {
        if (of.wideRouting()) {
            routing.mirror().host().setAtIndex(JAVA_LONG, index, expert);
        } else {
            routing.mirror().host().setAtIndex(JAVA_INT, index, expert);
        }
    }

    private static void put(byte[] row, Mirrored target, int token) {
        MemorySegment.copy(row, 0, target.mirror().host(), JAVA_BYTE, (long) token * row.length, row.length);
    }

    /** Enqueues the copies of what came home. */
    void readCombined(CudaStream stream) {
        combined.mirror().toHost(stream);
        if (combinedWeights != null) {
            combinedWeights.mirror().toHost(stream);
        }
    }

    /**
     * Checks what came home.
     *
     * @param count T of the operation; rows from the round's tokens on went nowhere
     */
    void verify(Round round, int count, ReceiveSide side) {
        byte[][] expected = side.expected(round);
        Rows actual = ReceiveSide.rows(combined);
        CombinedRows.verify(expected, actual);
        actual.verifyFilled(expected.length, count, (byte) 0, "combined, tokens without experts");
        actual.verifyFilled(count, actual.count(), TestTensors.UNTOUCHED, "combined, unused rows");
        if (combinedWeights != null) {
            float[] gradients = combinedWeights.mirror().host().toArray(JAVA_FLOAT);
            int topK = of.shape().topK();
            float[][] expectedGradients = side.expectedWeights(round);
            for (int token = 0; token < count; token++) {
                float[] wanted = token < expectedGradients.length ? expectedGradients[token] : new float[topK];
                float[] found = Arrays.copyOfRange(gradients, token * topK, (token + 1) * topK);
                if (!Arrays.equals(wanted, found)) {
                    throw new Mismatch("gradients of the weights of token " + token + ": " + Arrays.toString(found)
                            + ", expected " + Arrays.toString(wanted));
                }
            }
        }
    }
}
