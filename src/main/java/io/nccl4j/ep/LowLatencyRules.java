package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import org.jspecify.annotations.Nullable;

/** The rules for low-latency dispatch and combine: A.5, A.6, 5.2 and 5.3 of the semantics. */
final class LowLatencyRules {
    private LowLatencyRules() {
    }

    /** @param tokens of the last update */
    static void checkDispatch(HandleShape s, long tokens, LayerTensors.Dispatch given,
            LayerTensors.@Nullable Counters info, DispatchConfig config) {
        Rule.LL_DIRECTION.refuseIf(config.direction() != PassDirection.FORWARD,
                "direction BACKWARD: low latency has the forward pass only");
        RecipeRules.checkTokenRows(tokens, given);
        RowFormat format = RecipeRules.checkDispatch(s, given, config);
        LayerTensors.Dispatch expected = LayerTensors.Dispatch.of(s, format, tokens, s.receivedRows());
        expectExtents(Rule.LL_OUTPUTS, s, "received tokens", given.received(), expected.received());
        if (given.receivedScales() != null && expected.receivedScales() != null) {
            expectExtents(Rule.RECIPE_SCALES, s, "received scales", given.receivedScales(), expected.receivedScales());
        }
        Rule.LL_WEIGHTS.refuseIf(s.isExpertMajor() && given.weights() != null,
                "weights %s: EXPERT_MAJOR takes them in combine", given.weights());
        expect(Rule.LL_WEIGHTS, s, "weights", given.weights(), expected.weights());
        expect(Rule.LL_OUTPUTS, s, "received weights", given.receivedWeights(), expected.receivedWeights());
        expect(Rule.LL_OUTPUTS, s, "received indices", given.receivedIndices(), expected.receivedIndices());
        checkInfo(s, info);
        boolean direct = !s.isExpertMajor() && config.recipe() != DispatchRecipe.DS_FP8E3M4
                && (given.received().inWindow() || given.receivedScales() != null && given.receivedScales().inWindow());
        Rule.ZERO_COPY_WINDOWS.refuseIf(s.config().zeroCopy() == ZeroCopy.ON && !direct,
                "received tokens are %s: ZeroCopy.ON needs RANK_MAJOR, tokens or scales in a window, and no DS_FP8E3M4",
                given.received());
        RecipeRules.checkAddresses(given);
    }

    private static void checkInfo(HandleShape s, LayerTensors.@Nullable Counters info) {
        LayerTensors.Counters expected = LayerTensors.Counters.of(s);
        TensorShape experts = info == null ? null : info.experts();
        TensorShape sources = info == null ? null : info.sourceRanks();
        expect(Rule.LL_INFO, s, "expertCounters", experts, expected.experts());
        // RANK_MAJOR can do without.
        if (sources != null) {
            expect(Rule.LL_INFO, s, "sourceRankCounters", sources, expected.sourceRanks());
        }
        AddressRules.checkElements("expertCounters", experts);
        AddressRules.checkElements("sourceRankCounters", sources);
        if (info != null) {
            Rule.LL_INFO.refuseIf(info.offsets() != null || info.total() != null,
                    "expertOffsets %s, receivedTotal %s: low latency has neither", info.offsets(), info.total());
        }
    }

    /** @param tokens of the last update */
    static void checkCombine(HandleShape s, long tokens, LayerTensors.Combine given, CombineConfig config) {
        Rule.LL_DIRECTION.refuseIf(config.direction() != PassDirection.FORWARD,
                "direction BACKWARD: low latency has the forward pass only");
        RecipeRules.checkCombine(s, given, config);
        DataType type = given.outputs().type();
        LayerTensors.Combine expected = LayerTensors.Combine.of(s, type, given.outputs().width(), config.recipe(),
                tokens, s.receivedRows());
        expectExtents(Rule.COMBINE_SHAPE, s, "expert outputs", given.outputs(), expected.outputs());
        expect(Rule.RECIPE_SCALES, s, "scales", given.scales(), expected.scales());
        expectExtents(Rule.COMBINE_SHAPE, s, "combined, whose rows are those of the last update,", given.combined(),
                expected.combined());
        if (s.isExpertMajor()) {
            expect(Rule.COMBINE_WEIGHTS, s, "weights, which EXPERT_MAJOR reads in combine,", given.weights(),
                    expected.weights());
        }
        RecipeRules.checkAddresses(given);
    }

    /** Types have a rule of their own. */
    private static void expectExtents(Rule rule, HandleShape s, String name, TensorShape given, TensorShape expected) {
        rule.refuseIf(!given.has(given.type(), expected.extents()), "%s: given is %s, %s needs %s", name, given,
                s.name(), expected);
    }

    private static void expect(Rule rule, HandleShape s, String name, @Nullable TensorShape given,
            @Nullable TensorShape expected) {
        rule.refuseIf(expected == null && given != null, "%s: given is %s, %s has none", name, given, s.name());
        rule.refuseIf(expected != null && (given == null || !given.isLike(expected)), "%s: given is %s, %s needs %s",
                name, given, s.name(), expected);
    }
}
