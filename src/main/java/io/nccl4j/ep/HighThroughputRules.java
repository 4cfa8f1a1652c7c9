package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import org.jspecify.annotations.Nullable;

/** The rules for high-throughput dispatch and combine: A.5, A.6, 2.10, 5.4 and 5.10 of the semantics. */
final class HighThroughputRules {
    private HighThroughputRules() {
    }

    static void checkDispatch(HandleShape s, long tokens, DispatchInputs in, DispatchOutputs out,
            @Nullable LayoutInfo info,
            @Nullable DispatchConfig config) {
        Rule.HT_SEND_ONLY.require(config == null || !config.isSendOnly(),
                "sendOnly: high throughput has no send halves");
        EpTensor rows = in.tokens();
        Rule.DISPATCH_TOKENS.require(rows.dimensions() == 2 && in.hasRows(tokens),
                "%s: must have %d rows each, those of the last update, and tokens be [%d, hidden]", in, tokens, tokens);
        EpTensor received = out.tokens();
        Rule.HT_OUTPUTS.require(received.dimensions() == 2 && received.rowBytes() == rows.rowBytes(),
                "received tokens are %s: must be [rows, %d] like the tokens %s", received, rows.extent(1), rows);
        RecipeRules.checkDispatch(s, in, out, config);
        Rule.HT_OUTPUT_ROWS.require(s.config().isEager() || received.rows() >= s.receiveRows(),
                "received tokens have %d rows: the receive budget is %d", received.rows(), s.receiveRows());
        if (config == null || config.direction() == PassDirection.FORWARD) {
            checkForward(s, tokens, in, out);
        } else {
            Rule.HT_DIRECTION.require(in.weights() == null && out.weights() == null && out.indices() == null,
                    "weights %s in, %s out, indices %s out: the backward pass has none", in.weights(), out.weights(),
                    out.indices());
        }
        Rule.ZERO_COPY_WINDOWS.require(s.config().zeroCopy() != ZeroCopy.ON || received.isInWindow(),
                "received tokens are %s: ZeroCopy.ON needs them in a window", received);
        Rule.V1_FEATURE.require(s.isV2() || info == null || info.expertIds() == ExpertIds.AUTO,
                "ExpertIds other than AUTO needs API v2 of NCCL EP");
        EpTensor scales = in.scales();
        checkSharedMemory(s,
                8 * (rows.rowBytes() + 4L * s.config().experts() + (scales == null ? 0 : scales.rowBytes())) + 136,
                rows.rowBytes());
    }

    private static void checkForward(HandleShape s, long tokens, DispatchInputs in, DispatchOutputs out) {
        EpTensor weights = in.weights();
        Rule.HT_DIRECTION.require(weights != null && weights.has(DataType.FLOAT32, tokens, s.topK()),
                "weights are %s: the forward pass needs FLOAT32 [%d, %d]", weights, tokens, s.topK());
        EpTensor outWeights = out.weights();
        EpTensor outIndices = out.indices();
        if (s.isExpertMajor()) {
            Rule.HT_DIRECTION.require(outIndices == null, "received indices %s: EXPERT_MAJOR has none", outIndices);
            Rule.HT_OUTPUTS.require(
                    outWeights != null && outWeights.type() == DataType.FLOAT32 && outWeights.dimensions() == 1,
                    "received weights are %s: EXPERT_MAJOR needs FLOAT32 [rows]", outWeights);
        } else {
            Rule.HT_OUTPUTS.require(
                    outWeights != null && outIndices != null
                            && outWeights.has(DataType.FLOAT32, outWeights.rows(), s.topK())
                            && outIndices.has(DataType.INT64, outWeights.rows(), s.topK()),
                    "received weights are %s, indices %s: FLAT needs FLOAT32 and INT64 [rows, %d]", outWeights,
                    outIndices,
                    s.topK());
        }
        if (outWeights != null) {
            boolean enough = s.config().isEager()
                    ? outWeights.rows() == out.tokens().rows()
                    : outWeights.rows() >= s.receiveRows();
            Rule.HT_OUTPUT_ROWS.require(enough, "received weights have %d rows: must be %s%d", outWeights.rows(),
                    s.config().isEager() ? "as many as tokens, " : "at least the receive budget, ",
                    s.config().isEager() ? out.tokens().rows() : s.receiveRows());
        }
    }

    /**
     * @param dispatchedRows of the output of the dispatch before, which the library has found sufficient; -1 if there was none
     */
    static void checkCombine(HandleShape s, long tokens, CombineInputs in, CombineOutputs out,
            @Nullable CombineConfig config,
            long dispatchedRows) {
        Rule.HT_SEND_ONLY.require(config == null || !config.isSendOnly(),
                "sendOnly: high throughput has no send halves");
        EpTensor rows = in.tokens();
        Rule.COMBINE_SHAPE.require(rows.dimensions() == 2, "expert outputs are %s: must be [rows, hidden]", rows);
        RecipeRules.checkCombine(s, in, out, config);
        long hidden = rows.extent(1);
        Rule.COMBINE_SHAPE.require(out.hasRows(tokens) && out.tokens().has(out.tokens().type(), tokens, hidden),
                "combined is %s: must be [%d, %d], the rows those of the last update", out, tokens, hidden);
        long least = s.config().isEager() ? dispatchedRows : s.receiveRows();
        Rule.COMBINE_ROWS.require(rows.rows() >= least, "expert outputs have %d rows: dispatch has filled up to %d",
                rows.rows(),
                least);
        boolean backward = config != null && config.direction() == PassDirection.BACKWARD;
        if (backward) {
            checkBackward(s, tokens, in, out);
        } else {
            Rule.HT_DIRECTION.require(in.weights() == null, "weights %s in: the forward pass has none", in.weights());
        }
        Rule.ZERO_COPY_WINDOWS.require(s.config().zeroCopy() != ZeroCopy.ON || rows.isInWindow(),
                "expert outputs are %s: ZeroCopy.ON needs them in a window", rows);
        checkSharedMemory(s, 10 * rows.rowBytes() + 136, rows.rowBytes());
    }

    private static void checkBackward(HandleShape s, long tokens, CombineInputs in, CombineOutputs out) {
        long rows = in.tokens().rows();
        Rule.COMBINE_ROWS.require(rows <= s.receiveRows(),
                "gradients have %d rows: a backward combine takes at most %d", rows,
                s.receiveRows());
        EpTensor weights = in.weights();
        EpTensor outWeights = out.weights();
        Rule.HT_DIRECTION.require(outWeights != null && outWeights.has(DataType.FLOAT32, tokens, s.topK()),
                "weights out are %s: the backward pass needs FLOAT32 [%d, %d]", outWeights, tokens, s.topK());
        boolean fits = weights != null
                && (s.isExpertMajor()
                        ? weights.has(DataType.FLOAT32, rows)
                        : weights.has(DataType.FLOAT32, rows, s.topK()));
        Rule.HT_DIRECTION.require(fits, "weights in are %s: the backward pass needs FLOAT32 [%d%s]", weights, rows,
                s.isExpertMajor() ? "" : ", " + s.topK());
    }

    /** The mode that copies rows on the receiver keeps several of them in shared memory. */
    private static void checkSharedMemory(HandleShape s, long needed, long rowBytes) {
        Rule.ROW_LENGTH.require(
                s.mode() != ExpertMajorMode.LOCAL_DUP || !s.isExpertMajor() || needed <= s.device().sharedMemoryBytes(),
                "a row has %d bytes: mode LOCAL_DUP would need %d bytes of shared memory, the device has %d", rowBytes,
                needed,
                s.device().sharedMemoryBytes());
    }
}
