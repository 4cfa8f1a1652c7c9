package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import org.jspecify.annotations.Nullable;

/** The rules for high-throughput dispatch and combine: A.5, A.6, 2.10, 5.4 and 5.10 of the semantics. */
final class HighThroughputRules {
    private HighThroughputRules() {
    }

    /** @param tokens of the last update */
    static void checkDispatch(HandleShape s, long tokens, LayerTensors.Dispatch given, DispatchConfig config) {
        Rule.HT_SEND_ONLY.refuseIf(config.isSendOnly(), "sendOnly: high throughput has no send halves");
        RecipeRules.checkTokenRows(tokens, given);
        TensorShape rows = given.tokens();
        TensorShape received = given.received();
        Rule.HT_OUTPUTS.refuseIf(received.dimensions() != 2 || received.rowBytes() != rows.rowBytes(),
                "received tokens are %s: must be [rows, %d] like the tokens %s", received, rows.width(), rows);
        RecipeRules.checkDispatch(s, given, config);
        Rule.HT_OUTPUT_ROWS.refuseIf(!s.config().isEager() && received.rows() < s.receiveRows(),
                "received tokens have %d rows: the receive budget is %d", received.rows(), s.receiveRows());
        if (config.direction() == PassDirection.FORWARD) {
            checkForward(s, tokens, given);
        } else {
            Rule.HT_DIRECTION.refuseIf(
                    given.weights() != null || given.receivedWeights() != null || given.receivedIndices() != null,
                    "weights %s in, %s out, indices %s out: the backward pass has none", given.weights(),
                    given.receivedWeights(), given.receivedIndices());
        }
        Rule.ZERO_COPY_WINDOWS.refuseIf(s.config().zeroCopy() == ZeroCopy.ON && !received.inWindow(),
                "received tokens are %s: ZeroCopy.ON needs them in a window", received);
        TensorShape scales = given.scales();
        checkSharedMemory(s,
                8 * (rows.rowBytes() + 4L * s.group().teamExperts() + (scales == null ? 0 : scales.rowBytes())) + 136,
                rows.rowBytes());
        RecipeRules.checkAddresses(given);
    }

    private static void checkForward(HandleShape s, long tokens, LayerTensors.Dispatch given) {
        TensorShape weights = given.weights();
        Rule.HT_DIRECTION.refuseIf(weights == null || !weights.has(DataType.FLOAT32, tokens, s.topK()),
                "weights are %s: the forward pass needs FLOAT32 [%d, %d]", weights, tokens, s.topK());
        TensorShape outWeights = given.receivedWeights();
        TensorShape outIndices = given.receivedIndices();
        Rule.HT_DIRECTION.refuseIf(s.isExpertMajor() && outIndices != null,
                "received indices %s: EXPERT_MAJOR has none", outIndices);
        long rows = outWeights == null ? given.received().rows() : outWeights.rows();
        LayerTensors.Dispatch expected = LayerTensors.Dispatch.of(s,
                RowFormat.plain(given.tokens().type(), given.tokens().width()), tokens, rows);
        Rule.HT_OUTPUTS.refuseIf(
                differs(outWeights, expected.receivedWeights())
                        || !s.isExpertMajor() && differs(outIndices, expected.receivedIndices()),
                s.isExpertMajor()
                        ? "received weights are %s: EXPERT_MAJOR needs FLOAT32 [rows]"
                        : "received weights are %s, indices %s: FLAT needs FLOAT32 and INT64 [rows, %d]",
                outWeights, outIndices, s.topK());
        boolean eager = s.config().isEager();
        long needed = eager ? given.received().rows() : s.receiveRows();
        Rule.HT_OUTPUT_ROWS.refuseIf(eager ? rows != needed : rows < needed,
                "received weights have %d rows: must be %s%d", rows,
                eager ? "as many as tokens, " : "at least the receive budget, ", needed);
    }

    private static boolean differs(@Nullable TensorShape given, @Nullable TensorShape expected) {
        return expected == null ? given != null : given == null || !given.isLike(expected);
    }

    /**
     * @param tokens of the last update
     * @param dispatchedRows of the output of the dispatch before, which the library has found sufficient; -1 if
     *     there was none
     */
    static void checkCombine(HandleShape s, long tokens, LayerTensors.Combine given, CombineConfig config,
            long dispatchedRows) {
        Rule.HT_SEND_ONLY.refuseIf(config.isSendOnly(), "sendOnly: high throughput has no send halves");
        TensorShape rows = given.outputs();
        Rule.COMBINE_SHAPE.refuseIf(rows.dimensions() != 2, "expert outputs are %s: must be [rows, hidden]", rows);
        RecipeRules.checkCombine(s, given, config);
        long hidden = rows.width();
        Rule.COMBINE_SHAPE.refuseIf(!given.combined().has(given.combined().type(), tokens, hidden),
                "combined is %s: must be [%d, %d], the rows those of the last update", given.combined(), tokens,
                hidden);
        long least = s.config().isEager() ? dispatchedRows : s.receiveRows();
        Rule.COMBINE_ROWS.refuseIf(rows.rows() < least, "expert outputs have %d rows: dispatch has filled up to %d",
                rows.rows(), least);
        if (config.direction() == PassDirection.BACKWARD) {
            checkBackward(s, tokens, given);
        } else {
            Rule.HT_DIRECTION.refuseIf(given.gradients() != null, "weights %s in: the forward pass has none",
                    given.gradients());
        }
        Rule.ZERO_COPY_WINDOWS.refuseIf(s.config().zeroCopy() == ZeroCopy.ON && !rows.inWindow(),
                "expert outputs are %s: ZeroCopy.ON needs them in a window", rows);
        checkSharedMemory(s, 10 * rows.rowBytes() + 136, rows.rowBytes());
        RecipeRules.checkAddresses(given);
    }

    private static void checkBackward(HandleShape s, long tokens, LayerTensors.Combine given) {
        long rows = given.outputs().rows();
        Rule.COMBINE_ROWS.refuseIf(rows > s.receiveRows(),
                "gradients have %d rows: a backward combine takes at most %d", rows, s.receiveRows());
        TensorShape weights = given.gradients();
        TensorShape outWeights = given.weights();
        Rule.HT_DIRECTION.refuseIf(outWeights == null || !outWeights.has(DataType.FLOAT32, tokens, s.topK()),
                "weights out are %s: the backward pass needs FLOAT32 [%d, %d]", outWeights, tokens, s.topK());
        boolean fits = weights != null && (s.isExpertMajor()
                ? weights.has(DataType.FLOAT32, rows)
                : weights.has(DataType.FLOAT32, rows, s.topK()));
        Rule.HT_DIRECTION.refuseIf(!fits, "weights in are %s: the backward pass needs FLOAT32 [%d%s]", weights, rows,
                s.isExpertMajor() ? "" : ", " + s.topK());
    }

    /** The mode that copies rows on the receiver keeps several of them in shared memory. */
    private static void checkSharedMemory(HandleShape s, long needed, long rowBytes) {
        Rule.ROW_LENGTH.refuseIf(
                s.mode() == ExpertMajorMode.LOCAL_DUP && s.isExpertMajor()
                        && needed > s.group().device().sharedMemoryBytes(),
                "a row has %d bytes: mode LOCAL_DUP would need %d bytes of shared memory, the device has %d", rowBytes,
                needed, s.group().device().sharedMemoryBytes());
    }
}
