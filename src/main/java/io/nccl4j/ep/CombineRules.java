package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;

/** The rules for combine: A.6, 5.3, 5.7 and 5.10 of the semantics. */
final class CombineRules {
    private CombineRules() {
    }

    /** Types and row lengths by recipe. */
    static void checkFormat(HandleShape s, CombineRecipe recipe, DataType type, long hidden, Violations v) {
        if (recipe == CombineRecipe.NVFP4) {
            DeviceLimits device = s.group().device();
            v.addIf(Rule.RECIPE_AVAILABLE, !s.isLowLatency() || !device.hasFp4(),
                    "NVFP4 exists for low latency on devices of compute capability 10.0 and up: this is %s on %d.%d",
                    s.config().algorithm(), device.computeCapability() / 10, device.computeCapability() % 10);
            v.addIf(Rule.RECIPE_TYPES, type != DataType.BFLOAT16, "tokens are %s: NVFP4 takes BFLOAT16", type);
        }
        v.addIf(Rule.RECIPE_TYPES, !RowRules.PLAIN.contains(type), "tokens are %s: combine takes %s", type,
                RowRules.PLAIN);
        if (s.isLowLatency()) {
            RowRules.checkHidden("combine", hidden, RowRules.LL_PACKET, v);
        } else {
            v.addIf(Rule.ROW_LENGTH, hidden <= 0 || hidden % RowRules.HT_PACKET != 0,
                    "hidden is %d: combine needs a multiple of %d, such as %d", hidden, RowRules.HT_PACKET,
                    Sizes.alignUp(Math.max(1, hidden), RowRules.HT_PACKET));
        }
        RowRules.checkFits(s, hidden * type.byteSize(), v);
    }

    /**
     * @param tokens of the last update
     * @param dispatchedRows high throughput, eager: of the output of the dispatch before, which the library has found
     *     sufficient
     */
    static void check(HandleShape s, long tokens, LayerTensors.Combine given, CombineConfig config,
            long dispatchedRows) {
        boolean lowLatency = s.isLowLatency();
        Rule.LL_DIRECTION.refuseIf(lowLatency && config.direction() != PassDirection.FORWARD,
                "direction BACKWARD: low latency has the forward pass only");
        Rule.HT_SEND_ONLY.refuseIf(!lowLatency && config.isSendOnly(), "sendOnly: high throughput has no send halves");
        TensorShape rows = given.outputs();
        Rule.RECIPE_SCALES.refuseIf(config.recipe() == CombineRecipe.NONE && given.scales() != null,
                "scales are %s: without a recipe there are none", given.scales());
        Violations violations = new Violations();
        checkFormat(s, config.recipe(), rows.type(), rows.width(), violations);
        violations.refuse();
        Rule.COMBINE_TYPE.refuseIf(given.combined().type() != rows.type(), "tokens %s in, %s out: must be of one type",
                rows, given.combined());
        LayerTensors.Combine expected = LayerTensors.Combine.of(s, rows.type(), rows.width(), config, tokens,
                lowLatency ? s.receivedRows() : new long[]{rows.rows()});
        RowRules.expectExtents(Rule.COMBINE_SHAPE, s, "expert outputs", rows, expected.outputs());
        RowRules.expectExtents(Rule.COMBINE_SHAPE, s, "combined, whose rows are those of the last update,",
                given.combined(), expected.combined());
        RowRules.expect(Rule.RECIPE_SCALES, s.name(), "scales", given.scales(), expected.scales());
        String whose = s.name(config.direction());
        if (!lowLatency) {
            RowRules.expect(Rule.HT_DIRECTION, whose, "weights in", given.gradients(), expected.gradients());
            checkHighThroughput(s, rows, config.direction(), dispatchedRows);
        }
        if (expected.weights() != null) {
            RowRules.expect(lowLatency ? Rule.COMBINE_WEIGHTS : Rule.HT_DIRECTION, whose,
                    lowLatency ? "weights, which EXPERT_MAJOR reads in combine," : "weights out", given.weights(),
                    expected.weights());
        }
        checkAddresses(given);
    }

    private static void checkHighThroughput(HandleShape s, TensorShape rows, PassDirection direction,
            long dispatchedRows) {
        long least = s.config().isEager() ? dispatchedRows : s.receiveRows();
        Rule.COMBINE_ROWS.refuseIf(rows.rows() < least, "expert outputs have %d rows: dispatch has filled up to %d",
                rows.rows(), least);
        Rule.COMBINE_ROWS.refuseIf(direction == PassDirection.BACKWARD && rows.rows() > s.receiveRows(),
                "gradients have %d rows: a backward combine takes at most %d", rows.rows(), s.receiveRows());
        Rule.ZERO_COPY_WINDOWS.refuseIf(s.config().zeroCopy() == ZeroCopy.ON && !rows.inWindow(),
                "expert outputs are %s: ZeroCopy.ON needs them in a window", rows);
        RowRules.checkSharedMemory(s, 10 * rows.rowBytes() + 136, rows.rowBytes());
    }

    private static void checkAddresses(LayerTensors.Combine given) {
        RowRules.checkRowAddress("expert outputs", given.outputs());
        RowRules.checkRowAddress("combined", given.combined());
        RowRules.checkAddress("scales", given.scales());
        RowRules.checkAddress("weights in", given.gradients());
        RowRules.checkAddress("weights", given.weights());
    }
}
