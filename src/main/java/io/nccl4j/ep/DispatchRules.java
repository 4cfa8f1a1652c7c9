package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import java.util.EnumSet;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** The rules for dispatch: A.5, 5.2, 5.4 and 5.7 of the semantics. */
final class DispatchRules {
    private static final Set<DataType> FORWARDED = EnumSet.of(DataType.FLOAT32, DataType.FLOAT16, DataType.BFLOAT16,
            DataType.FLOAT8_E4M3, DataType.FLOAT8_E5M2, DataType.FLOAT4X2);
    private static final Set<DataType> SCALES = EnumSet.of(DataType.FLOAT32, DataType.FLOAT16, DataType.BFLOAT16,
            DataType.FLOAT8_E4M3, DataType.FLOAT8_E5M2, DataType.UINT8);

    private DispatchRules() {
    }

    /** Types and row lengths by recipe. */
    static void checkFormat(HandleShape s, RowFormat f, Violations v) {
        switch (f.recipe()) {
            case NONE -> {
                v.addIf(Rule.RECIPE_TYPES, !RowRules.PLAIN.contains(f.type()), "tokens are %s: dispatch takes %s",
                        f.type(), RowRules.PLAIN);
                if (s.isLowLatency()) {
                    RowRules.checkHidden("dispatch", f.elements(), f.type() == DataType.FLOAT32 ? 128 : 256, v);
                } else {
                    checkVectors("tokens", f.tokenBytes(), v);
                }
                RowRules.checkFits(s, f.tokenBytes(), v);
            }
            case QUANT_FWD -> {
                v.addIf(Rule.RECIPE_TYPES, !FORWARDED.contains(f.type()), "tokens are %s: QUANT_FWD takes %s", f.type(),
                        FORWARDED);
                checkVectors("tokens", f.tokenBytes(), v);
                v.addIf(Rule.RECIPE_TYPES, f.scaleType() == null || !SCALES.contains(f.scaleType()),
                        "scales are %s: QUANT_FWD takes %s", f.scaleType(), SCALES);
                checkVectors("scales", f.scaleBytes(), v);
                RowRules.checkFits(s, f.tokenBytes() + f.scaleBytes(), v);
            }
            case DS_FP8E3M4 -> {
                v.addIf(Rule.RECIPE_AVAILABLE, !s.isLowLatency(),
                        "DS_FP8E3M4 exists for low latency only: use QUANT_FWD");
                RowRules.checkHidden("DS_FP8E3M4", f.elements(), RowRules.LL_PACKET, v);
                // The row that goes in is the longer one.
                RowRules.checkFits(s, f.tokenBytes(), v);
            }
        }
    }

    private static void checkVectors(String name, long rowBytes, Violations v) {
        v.addIf(Rule.ROW_LENGTH, rowBytes <= 0 || rowBytes % RowRules.VECTOR_BYTES != 0,
                "a row of %s has %d bytes: must be a multiple of %d, such as %d", name, rowBytes, RowRules.VECTOR_BYTES,
                Sizes.alignUp(Math.max(1, rowBytes), RowRules.VECTOR_BYTES));
    }

    /**
     * @param tokens of the last update
     * @param info low latency: the counters
     */
    static void check(HandleShape s, long tokens, LayerTensors.Dispatch given, LayerTensors.@Nullable Counters info,
            DispatchConfig config) {
        boolean lowLatency = s.isLowLatency();
        Rule.LL_DIRECTION.refuseIf(lowLatency && config.direction() != PassDirection.FORWARD,
                "direction BACKWARD: low latency has the forward pass only");
        Rule.HT_SEND_ONLY.refuseIf(!lowLatency && config.isSendOnly(), "sendOnly: high throughput has no send halves");
        checkTokenRows(tokens, given);
        TensorShape rows = given.tokens();
        TensorShape received = given.received();
        Rule.HT_OUTPUTS.refuseIf(!lowLatency && (received.dimensions() != 2 || received.rowBytes() != rows.rowBytes()),
                "received tokens are %s: must be [rows, %d] like the tokens %s", received, rows.width(), rows);
        RowFormat format = checkRecipe(s, given, config);
        TensorShape weights = given.receivedWeights();
        long most = weights == null ? received.rows() : weights.rows();
        LayerTensors.Dispatch expected = LayerTensors.Dispatch.of(s, format, config.direction(), tokens,
                lowLatency ? s.receivedRows() : new long[]{most});
        Rule.LL_WEIGHTS.refuseIf(lowLatency && s.isExpertMajor() && given.weights() != null,
                "weights %s: EXPERT_MAJOR takes them in combine", given.weights());
        String whose = s.name(config.direction());
        RowRules.expect(lowLatency ? Rule.LL_WEIGHTS : Rule.HT_DIRECTION, whose, "weights", given.weights(),
                expected.weights());
        Rule outputs = lowLatency
                ? Rule.LL_OUTPUTS
                : config.direction() == PassDirection.FORWARD ? Rule.HT_OUTPUTS : Rule.HT_DIRECTION;
        RowRules.expect(outputs, whose, "received weights", weights, expected.receivedWeights());
        RowRules.expect(outputs, whose, "received indices", given.receivedIndices(), expected.receivedIndices());
        if (lowLatency) {
            checkLowLatency(s, given, expected, config.recipe());
            checkInfo(s, info);
        } else {
            checkHighThroughput(s, given, most);
        }
        checkAddresses(given);
    }

    private static void checkLowLatency(HandleShape s, LayerTensors.Dispatch given, LayerTensors.Dispatch expected,
            DispatchRecipe recipe) {
        TensorShape scales = given.receivedScales();
        RowRules.expectExtents(Rule.LL_OUTPUTS, s, "received tokens", given.received(), expected.received());
        if (scales != null && expected.receivedScales() != null) {
            RowRules.expectExtents(Rule.RECIPE_SCALES, s, "received scales", scales, expected.receivedScales());
        }
        boolean direct = !s.isExpertMajor() && recipe != DispatchRecipe.DS_FP8E3M4
                && (given.received().inWindow() || scales != null && scales.inWindow());
        Rule.ZERO_COPY_WINDOWS.refuseIf(s.config().zeroCopy() == ZeroCopy.ON && !direct,
                "received tokens are %s: ZeroCopy.ON needs RANK_MAJOR, tokens or scales in a window, and no DS_FP8E3M4",
                given.received());
    }

    /** @param weightRows of the received weights */
    private static void checkHighThroughput(HandleShape s, LayerTensors.Dispatch given, long weightRows) {
        TensorShape received = given.received();
        boolean eager = s.config().isEager();
        Rule.HT_OUTPUT_ROWS.refuseIf(!eager && received.rows() < s.receiveRows(),
                "received tokens have %d rows: the receive budget is %d", received.rows(), s.receiveRows());
        long needed = eager ? received.rows() : s.receiveRows();
        Rule.HT_OUTPUT_ROWS.refuseIf(eager ? weightRows != needed : weightRows < needed,
                "received weights have %d rows: must be %s%d", weightRows,
                eager ? "as many as tokens, " : "at least the receive budget, ", needed);
        Rule.ZERO_COPY_WINDOWS.refuseIf(s.config().zeroCopy() == ZeroCopy.ON && !received.inWindow(),
                "received tokens are %s: ZeroCopy.ON needs them in a window", received);
        TensorShape scales = given.scales();
        long rowBytes = given.tokens().rowBytes();
        RowRules.checkSharedMemory(s,
                8 * (rowBytes + 4L * s.group().teamExperts() + (scales == null ? 0 : scales.rowBytes())) + 136,
                rowBytes);
    }

    /** Inputs have a row for each token. */
    private static void checkTokenRows(long tokens, LayerTensors.Dispatch given) {
        Rule.DISPATCH_TOKENS.refuseIf(
                given.tokens().dimensions() != 2 || given.tokens().rows() != tokens
                        || rowsDiffer(given.weights(), tokens) || rowsDiffer(given.scales(), tokens),
                "tokens %s, weights %s, scales %s: must have %d rows each, those of the last update, "
                        + "and tokens be [%d, hidden]",
                given.tokens(), given.weights(), given.scales(), tokens, tokens);
    }

    private static boolean rowsDiffer(@Nullable TensorShape tensor, long tokens) {
        return tensor != null && tensor.rows() != tokens;
    }

    /** Types, scales and row lengths. */
    private static RowFormat checkRecipe(HandleShape s, LayerTensors.Dispatch given, DispatchConfig config) {
        TensorShape tokens = given.tokens();
        TensorShape scales = given.scales();
        TensorShape outScales = given.receivedScales();
        Rule.RECIPE_AVAILABLE.refuseIf(config.recipe() == DispatchRecipe.DS_FP8E3M4 && !s.isLowLatency(),
                "DS_FP8E3M4 exists for low latency only: use QUANT_FWD");
        RowFormat format = switch (config.recipe()) {
            case NONE -> {
                Rule.RECIPE_SCALES.refuseIf(scales != null || outScales != null,
                        "scales %s in, %s out: without a recipe there are none", scales, outScales);
                yield RowFormat.plain(tokens.type(), tokens.width());
            }
            case QUANT_FWD -> {
                Rule.RECIPE_SCALES.refuseIf(config.hasRoundScales(),
                        "roundScales: QUANT_FWD makes no scales, it forwards the caller's");
                Rule.RECIPE_SCALES.refuseIf(scales == null || outScales == null,
                        "scales %s in, %s out: QUANT_FWD needs both", scales, outScales);
                Rule.RECIPE_SCALES.refuseIf(scales != null && scales.dimensions() != 2,
                        "scales are %s: must be [tokens, scales]", scales);
                yield scales == null
                        ? RowFormat.plain(tokens.type(), tokens.width())
                        : RowFormat.forwarded(tokens.type(), tokens.width(), scales.type(), scales.width());
            }
            case DS_FP8E3M4 -> {
                Rule.RECIPE_SCALES.refuseIf(scales != null || outScales == null,
                        "scales %s in, %s out: DS_FP8E3M4 takes none and makes them", scales, outScales);
                Rule.RECIPE_TYPES.refuseIf(tokens.type() != DataType.BFLOAT16, "tokens %s: DS_FP8E3M4 takes BFLOAT16",
                        tokens);
                yield RowFormat.fp8(tokens.width());
            }
        };
        Violations violations = new Violations();
        checkFormat(s, format, violations);
        violations.refuse();
        Rule.RECIPE_TYPES.refuseIf(given.received().type() != format.receivedType(),
                "tokens %s in, %s out: recipe %s gives %s, must be of one type", tokens, given.received(),
                format.recipe(), format.receivedType());
        if (outScales != null) {
            checkReceivedScales(s, given.received(), outScales, format);
        }
        return format;
    }

    private static void checkReceivedScales(HandleShape s, TensorShape received, TensorShape scales, RowFormat format) {
        Rule.RECIPE_TYPES.refuseIf(scales.type() != format.scaleType(), "received scales are %s: recipe %s gives %s",
                scales, format.recipe(), format.scaleType());
        if (!s.isLowLatency()) {
            Rule.RECIPE_SCALES.refuseIf(!scales.has(scales.type(), received.rows(), format.scaleElements()),
                    "received scales are %s: must be [%d, %d] like the tokens", scales, received.rows(),
                    format.scaleElements());
            Rule.ZERO_COPY_WINDOWS.refuseIf(scales.inWindow() != received.inWindow(),
                    "received tokens %s, scales %s: must both be in windows or both not", received, scales);
        }
    }

    private static void checkInfo(HandleShape s, LayerTensors.@Nullable Counters info) {
        LayerTensors.Counters expected = LayerTensors.Counters.of(s);
        TensorShape experts = info == null ? null : info.experts();
        TensorShape sources = info == null ? null : info.sourceRanks();
        RowRules.expect(Rule.LL_INFO, s.name(), "expertCounters", experts, expected.experts());
        // RANK_MAJOR can do without.
        if (sources != null) {
            RowRules.expect(Rule.LL_INFO, s.name(), "sourceRankCounters", sources, expected.sourceRanks());
        }
        RowRules.checkAddress("expertCounters", experts);
        RowRules.checkAddress("sourceRankCounters", sources);
        if (info != null) {
            Rule.LL_INFO.refuseIf(info.offsets() != null || info.total() != null,
                    "expertOffsets %s, receivedTotal %s: low latency has neither", info.offsets(), info.total());
        }
    }

    private static void checkAddresses(LayerTensors.Dispatch given) {
        RowRules.checkRowAddress("tokens", given.tokens());
        RowRules.checkRowAddress("received tokens", given.received());
        RowRules.checkAddress("weights", given.weights());
        RowRules.checkAddress("received weights", given.receivedWeights());
        RowRules.checkAddress("received indices", given.receivedIndices());
        if (given.scales() != null) {
            // Forwarded like rows; scales that dispatch makes are written one by one.
            RowRules.checkRowAddress("scales", given.scales());
            RowRules.checkRowAddress("received scales", given.receivedScales());
        } else {
            RowRules.checkAddress("received scales", given.receivedScales());
        }
    }
}
