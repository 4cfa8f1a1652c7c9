package io.nccl4j.ep;

import org.jspecify.annotations.Nullable;

/** The rules for the arguments of a handle's calls: what they have in common, then those of the algorithm. */
final class CallRules {
    private CallRules() {
    }

    static void checkUpdate(EpGroup group, HandleShape shape, EpTensor topkIdx, @Nullable LayoutInfo info) {
        group.checkDevice(topkIdx, topkIdx.memory().device());
        HandleRules.checkRouting(shape, topkIdx);
        HandleRules.checkTokens(shape, topkIdx.rows());
        HandleRules.checkUpdateInfo(shape, info);
        if (info != null) {
            group.checkDevices(info);
        }
    }

    /**
     * @param tokens of the last update
     * @param capturing whether the call is captured
     */
    static void checkDispatch(EpGroup group, HandleShape shape, long tokens, DispatchInputs inputs,
            DispatchOutputs outputs,
            @Nullable LayoutInfo info, @Nullable DispatchConfig config, boolean capturing) {
        group.checkDevices(inputs);
        group.checkDevices(outputs);
        if (info != null) {
            group.checkDevices(info);
        }
        if (shape.isLowLatency()) {
            LowLatencyRules.checkDispatch(shape, tokens, inputs, outputs, info, config);
        } else {
            HighThroughputRules.checkDispatch(shape, tokens, inputs, outputs, info, config);
        }
        Rule.EAGER_CAPTURE.require(!shape.config().isEager() || !capturing,
                "dispatch cannot be captured into a graph: the group is eager and reads counts on the host; give it maxReceiveRows, or "
                        + "leave dispatch between captured segments");
    }

    /**
     * @param tokens of the last update
     * @param dispatchedRows rows of the output of the dispatch before
     */
    static void checkCombine(EpGroup group, HandleShape shape, long tokens, CombineInputs inputs,
            CombineOutputs outputs,
            @Nullable CombineConfig config, long dispatchedRows) {
        group.checkDevices(inputs);
        group.checkDevices(outputs);
        if (shape.isLowLatency()) {
            LowLatencyRules.checkCombine(shape, tokens, inputs, outputs, config);
        } else {
            HighThroughputRules.checkCombine(shape, tokens, inputs, outputs, config, dispatchedRows);
        }
    }
}
