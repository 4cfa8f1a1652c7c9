package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import org.jspecify.annotations.Nullable;

/** The rules for low-latency dispatch and combine: A.5, A.6, 5.2 and 5.3 of the semantics. */
final class LowLatencyRules {
    private LowLatencyRules() {
    }

    static void checkDispatch(HandleShape s, long tokens, DispatchInputs in, DispatchOutputs out,
            @Nullable LayoutInfo info,
            @Nullable DispatchConfig config) {
        Rule.LL_DIRECTION.require(config == null || config.direction() == PassDirection.FORWARD,
                "direction BACKWARD: low latency has the forward pass only");
        EpTensor rows = in.tokens();
        Rule.DISPATCH_TOKENS.require(rows.dimensions() == 2 && in.hasRows(tokens),
                "%s: must have %d rows each, those of the last update, and tokens be [%d, hidden]", in, tokens, tokens);
        RecipeRules.checkDispatch(s, in, out, config);
        long[] zones = s.zones();
        long hidden = rows.extent(1);
        Rule.LL_OUTPUTS.require(out.tokens().has(out.tokens().type(), zones[0], zones[1], hidden),
                "received tokens are %s: must be [%d, %d, %d] for %s", out.tokens(), zones[0], zones[1], hidden,
                s.layout());
        checkWeights(s, tokens, in, out, zones);
        checkInfo(s, info);
        boolean direct = !s.isExpertMajor() && (config == null || config.recipe() != DispatchRecipe.DS_FP8E3M4)
                && (out.tokens().isInWindow() || out.scales() != null && out.scales().isInWindow());
        Rule.ZERO_COPY_WINDOWS.require(s.config().zeroCopy() != ZeroCopy.ON || direct,
                "received tokens are %s: ZeroCopy.ON needs RANK_MAJOR, tokens or scales in a window, and no DS_FP8E3M4",
                out.tokens());
    }

    private static void checkWeights(HandleShape s, long tokens, DispatchInputs in, DispatchOutputs out, long[] zones) {
        EpTensor weights = in.weights();
        if (s.isExpertMajor()) {
            Rule.LL_WEIGHTS.require(weights == null, "weights %s: EXPERT_MAJOR takes them in combine", weights);
            Rule.LL_OUTPUTS.require(out.weights() == null && out.indices() == null,
                    "received weights %s and indices %s: EXPERT_MAJOR has none", out.weights(), out.indices());
            return;
        }
        Rule.LL_WEIGHTS.require(weights != null && weights.has(DataType.FLOAT32, tokens, s.topK()),
                "weights are %s: RANK_MAJOR needs FLOAT32 [%d, %d]", weights, tokens, s.topK());
        EpTensor outWeights = out.weights();
        EpTensor outIndices = out.indices();
        Rule.LL_OUTPUTS.require(
                outWeights != null && outIndices != null
                        && outWeights.has(DataType.FLOAT32, zones[0], zones[1], s.topK())
                        && outIndices.has(DataType.INT32, zones[0], zones[1], s.topK()),
                "received weights are %s and indices %s: RANK_MAJOR needs FLOAT32 and INT32 [%d, %d, %d]", outWeights,
                outIndices,
                zones[0], zones[1], s.topK());
    }

    private static void checkInfo(HandleShape s, @Nullable LayoutInfo info) {
        EpTensor counters = info == null ? null : info.expertCounters();
        EpTensor sources = info == null ? null : info.sourceRankCounters();
        if (s.isExpertMajor()) {
            Rule.LL_INFO.require(counters != null && counters.has(DataType.INT32, s.localExperts()),
                    "expertCounters is %s: EXPERT_MAJOR needs INT32 [%d]", counters, s.localExperts());
            Rule.LL_INFO.require(sources == null, "sourceRankCounters %s: EXPERT_MAJOR has none", sources);
        } else {
            Rule.LL_INFO.require(counters == null, "expertCounters %s: RANK_MAJOR has none", counters);
            Rule.LL_INFO.require(
                    sources == null ? s.isV2() : sources.has(DataType.INT32, s.ranks()),
                    "sourceRankCounters is %s: RANK_MAJOR takes INT32 [%d]", sources, s.ranks());
        }
        if (info != null) {
            Rule.LL_INFO.require(info.expertOffsets() == null && info.receivedTotal() == null,
                    "expertOffsets %s, receivedTotal %s: low latency has neither", info.expertOffsets(),
                    info.receivedTotal());
            Rule.V1_FEATURE.require(s.isV2() || info.expertIds() == ExpertIds.AUTO,
                    "ExpertIds.%s needs API v2 of NCCL EP",
                    info.expertIds());
        }
    }

    static void checkCombine(HandleShape s, long tokens, CombineInputs in, CombineOutputs out,
            @Nullable CombineConfig config) {
        Rule.LL_DIRECTION.require(config == null || config.direction() == PassDirection.FORWARD,
                "direction BACKWARD: low latency has the forward pass only");
        RecipeRules.checkCombine(s, in, out, config);
        long[] zones = s.zones();
        EpTensor rows = in.tokens();
        long hidden = rows.extent(rows.dimensions() - 1);
        Rule.COMBINE_SHAPE.require(rows.has(rows.type(), zones[0], zones[1], hidden),
                "expert outputs are %s: must be [%d, %d, hidden] for %s", rows, zones[0], zones[1], s.layout());
        Rule.COMBINE_SHAPE.require(out.hasRows(tokens) && out.tokens().has(out.tokens().type(), tokens, hidden),
                "combined is %s: must be [%d, %d], the rows those of the last update", out, tokens, hidden);
        EpTensor weights = out.weights();
        Rule.COMBINE_WEIGHTS.require(
                !s.isExpertMajor() || weights != null && weights.has(DataType.FLOAT32, tokens, s.topK()),
                "weights are %s: EXPERT_MAJOR reads the routing weights, FLOAT32 [%d, %d], in combine", weights, tokens,
                s.topK());
    }
}
