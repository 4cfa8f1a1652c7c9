package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import java.util.EnumSet;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** The rules for types, scales and row lengths by quantisation recipe: 5.1, 5.7 and appendix E of the semantics. */
final class RecipeRules {
    private static final Set<DataType> PLAIN = EnumSet.of(DataType.BFLOAT16, DataType.FLOAT16, DataType.FLOAT32);
    private static final Set<DataType> FORWARDED = EnumSet.of(DataType.FLOAT32, DataType.FLOAT16, DataType.BFLOAT16,
            DataType.FLOAT8_E4M3, DataType.FLOAT8_E5M2, DataType.FLOAT4X2);
    private static final Set<DataType> SCALES = EnumSet.of(DataType.FLOAT32, DataType.FLOAT16, DataType.BFLOAT16,
            DataType.FLOAT8_E4M3, DataType.FLOAT8_E5M2, DataType.UINT8);
    private static final int VECTOR_BYTES = 16;
    /** A low-latency layer moves rows of so many elements, or a multiple. */
    static final int LL_PACKET = 512;
    /** A high-throughput combine adds so many elements at a time. */
    static final int HT_PACKET = 8;

    private RecipeRules() {
    }

    /** The rules that buffers would break in dispatch or combine, before they are allocated. */
    static void checkBuffers(HandleShape s, BufferConfig config, Violations v) {
        RowFormat format = config.format();
        checkFormat(s, format, v);
        if (config.combineRecipe() == CombineRecipe.NVFP4) {
            checkNvfp4(s, config.type(), v);
        }
        checkCombineRows(s, config.type(), config.hidden(), v);
    }

    private static void checkFormat(HandleShape s, RowFormat f, Violations v) {
        switch (f.recipe()) {
            case NONE -> {
                v.addIf(Rule.RECIPE_TYPES, !PLAIN.contains(f.type()), "tokens are %s: dispatch takes %s", f.type(),
                        PLAIN);
                if (s.isLowLatency()) {
                    checkHidden("dispatch", f.elements(), f.type() == DataType.FLOAT32 ? 128 : 256, v);
                } else {
                    checkVectors("tokens", f.tokenBytes(), v);
                }
                checkFits(s, f.tokenBytes(), v);
            }
            case QUANT_FWD -> {
                v.addIf(Rule.RECIPE_TYPES, !FORWARDED.contains(f.type()), "tokens are %s: QUANT_FWD takes %s", f.type(),
                        FORWARDED);
                checkVectors("tokens", f.tokenBytes(), v);
                v.addIf(Rule.RECIPE_TYPES, f.scaleType() == null || !SCALES.contains(f.scaleType()),
                        "scales are %s: QUANT_FWD takes %s", f.scaleType(), SCALES);
                checkVectors("scales", f.scaleBytes(), v);
                checkFits(s, f.tokenBytes() + f.scaleBytes(), v);
            }
            case DS_FP8E3M4 -> {
                v.addIf(Rule.RECIPE_AVAILABLE, !s.isLowLatency(),
                        "DS_FP8E3M4 exists for low latency only: use QUANT_FWD");
                checkHidden("DS_FP8E3M4", f.elements(), LL_PACKET, v);
                // The row that goes in is the longer one.
                checkFits(s, f.tokenBytes(), v);
            }
        }
    }

    private static void checkHidden(String call, long hidden, int multiple, Violations v) {
        v.addIf(Rule.ROW_LENGTH, hidden <= 0 || hidden % multiple != 0,
                "hidden is %d: %s needs a multiple of %d, and a low-latency layer one of %d; pad rows to %d", hidden,
                call, multiple, LL_PACKET, Sizes.alignUp(Math.max(1, hidden), LL_PACKET));
    }

    private static void checkVectors(String name, long rowBytes, Violations v) {
        v.addIf(Rule.ROW_LENGTH, rowBytes <= 0 || rowBytes % VECTOR_BYTES != 0,
                "a row of %s has %d bytes: must be a multiple of %d, such as %d", name, rowBytes, VECTOR_BYTES,
                Sizes.alignUp(Math.max(1, rowBytes), VECTOR_BYTES));
    }

    private static void checkFits(HandleShape s, long bytes, Violations v) {
        v.addIf(Rule.ROW_BYTES, bytes > s.config().maxTokenBytes(),
                "a row with its scales has %d bytes: the group was created with maxTokenBytes %d", bytes,
                s.config().maxTokenBytes());
    }

    private static void checkCombineRows(HandleShape s, DataType type, long hidden, Violations v) {
        v.addIf(Rule.RECIPE_TYPES, !PLAIN.contains(type), "tokens are %s: combine takes %s", type, PLAIN);
        if (s.isLowLatency()) {
            checkHidden("combine", hidden, LL_PACKET, v);
        } else {
            v.addIf(Rule.ROW_LENGTH, hidden <= 0 || hidden % HT_PACKET != 0,
                    "hidden is %d: combine needs a multiple of %d, such as %d", hidden, HT_PACKET,
                    Sizes.alignUp(Math.max(1, hidden), HT_PACKET));
        }
        checkFits(s, hidden * type.byteSize(), v);
    }

    private static void checkNvfp4(HandleShape s, DataType type, Violations v) {
        v.addIf(Rule.RECIPE_AVAILABLE, !s.isLowLatency() || !s.group().device().hasFp4(),
                "NVFP4 exists for low latency on devices of compute capability 10.0 and up: this is %s on %d.%d",
                s.config().algorithm(), s.group().device().computeCapability() / 10,
                s.group().device().computeCapability() % 10);
        v.addIf(Rule.RECIPE_TYPES, type != DataType.BFLOAT16, "tokens are %s: NVFP4 takes BFLOAT16", type);
    }

    /** Inputs of a dispatch have a row for each token. */
    static void checkTokenRows(long tokens, LayerTensors.Dispatch given) {
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

    /** Types, scales and row lengths of a dispatch. */
    static RowFormat checkDispatch(HandleShape s, LayerTensors.Dispatch given, DispatchConfig config) {
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

    /** Types, scales and row lengths of a combine. */
    static void checkCombine(HandleShape s, LayerTensors.Combine given, CombineConfig config) {
        TensorShape outputs = given.outputs();
        Violations violations = new Violations();
        if (config.recipe() == CombineRecipe.NVFP4) {
            checkNvfp4(s, outputs.type(), violations);
        } else {
            violations.addIf(Rule.RECIPE_SCALES, given.scales() != null,
                    "scales are %s: without a recipe there are none", given.scales());
        }
        checkCombineRows(s, outputs.type(), outputs.width(), violations);
        violations.refuse();
        Rule.COMBINE_TYPE.refuseIf(given.combined().type() != outputs.type(),
                "tokens %s in, %s out: must be of one type", outputs, given.combined());
    }

    static void checkAddresses(LayerTensors.Dispatch given) {
        AddressRules.checkRows("tokens", given.tokens());
        AddressRules.checkRows("received tokens", given.received());
        AddressRules.checkElements("weights", given.weights());
        AddressRules.checkElements("received weights", given.receivedWeights());
        AddressRules.checkElements("received indices", given.receivedIndices());
        if (given.scales() != null) {
            // Forwarded like rows; scales that dispatch makes are written one by one.
            AddressRules.checkRows("scales", given.scales());
            AddressRules.checkRows("received scales", given.receivedScales());
        } else {
            AddressRules.checkElements("received scales", given.receivedScales());
        }
    }

    static void checkAddresses(LayerTensors.Combine given) {
        AddressRules.checkRows("expert outputs", given.outputs());
        AddressRules.checkRows("combined", given.combined());
        AddressRules.checkElements("scales", given.scales());
        AddressRules.checkElements("weights in", given.gradients());
        AddressRules.checkElements("weights", given.weights());
    }
}
