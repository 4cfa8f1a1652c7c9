package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import java.util.EnumSet;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** The rules for types, scales and row lengths by quantisation recipe: 5.1 and 5.7 of the semantics. */
final class RecipeRules {
    private static final Set<DataType> PLAIN = EnumSet.of(DataType.BFLOAT16, DataType.FLOAT16, DataType.FLOAT32);
    private static final Set<DataType> FORWARDED = EnumSet.of(DataType.FLOAT32, DataType.FLOAT16, DataType.BFLOAT16,
            DataType.FLOAT8_E4M3, DataType.FLOAT8_E5M2, DataType.FLOAT4X2);
    private static final Set<DataType> SCALES = EnumSet.of(DataType.FLOAT32, DataType.FLOAT16, DataType.BFLOAT16,
            DataType.FLOAT8_E4M3, DataType.FLOAT8_E5M2, DataType.UINT8);
    /** Row lengths that the precompiled low-latency kernels of 0.1.0 exist for. */
    private static final Set<Long> V1_HIDDEN = Set.of(2048L, 2560L, 4096L, 5120L, 6144L, 7168L, 8192L);
    private static final int VECTOR_BYTES = 16;
    private static final int FP8_BLOCK = 128;
    private static final int LL_PACKET = 512;

    private RecipeRules() {
    }

    static void checkDispatch(HandleShape s, DispatchInputs in, DispatchOutputs out, @Nullable DispatchConfig config) {
        DispatchRecipe recipe = config == null ? DispatchRecipe.NONE : config.recipe();
        checkGeneration(s, recipe);
        switch (recipe) {
            case NONE -> checkPlain(s, in, out);
            case QUANT_FWD -> checkForwarded(s, in, out, config != null && config.hasRoundScales());
            case DS_FP8E3M4 -> checkFp8(s, in, out);
        }
    }

    private static void checkGeneration(HandleShape s, DispatchRecipe recipe) {
        Rule.V1_FEATURE.require(s.isV2() || recipe == DispatchRecipe.NONE, "recipe %s needs API v2 of NCCL EP", recipe);
    }

    /** What dispatch and combine on buffers would find wrong, before they are allocated. */
    static void checkBuffers(HandleShape s, BufferConfig config) {
        checkGeneration(s, config.dispatchRecipe());
        DataType scaleType = config.scaleType();
        switch (config.dispatchRecipe()) {
            case NONE -> checkPlainDispatch(s, config.type(), config.hidden());
            case QUANT_FWD -> {
                long tokenBytes = config.tokenType().bytes(config.tokenElements());
                checkForwardedTokens(config.tokenType(), tokenBytes);
                if (scaleType != null) {
                    long scaleBytes = scaleType.bytes(config.scaleElements());
                    checkForwardedScales(scaleType, scaleBytes);
                    checkFits(s, tokenBytes + scaleBytes);
                }
            }
            case DS_FP8E3M4 -> checkFp8Rows(s, config.hidden());
        }
        if (config.combineRecipe() == CombineRecipe.NVFP4) {
            checkNvfp4(s, config.type());
        }
        checkPlainCombine(s, config.type(), config.hidden());
    }

    private static void checkPlain(HandleShape s, DispatchInputs in, DispatchOutputs out) {
        EpTensor tokens = in.tokens();
        checkPlainDispatch(s, tokens.type(), tokens.extent(1));
        Rule.RECIPE_TYPES.require(out.tokens().type() == tokens.type(), "tokens %s in, %s out: must be of one type",
                tokens,
                out.tokens());
        Rule.RECIPE_SCALES.require(in.scales() == null && out.scales() == null,
                "scales %s in, %s out: without a recipe there are none", in.scales(), out.scales());
    }

    /** Rows that a dispatch without a recipe takes. */
    static void checkPlainDispatch(HandleShape s, DataType type, long hidden) {
        checkPlainType(s, "dispatch", type);
        if (s.isLowLatency()) {
            checkHidden(s, "dispatch", hidden, type == DataType.FLOAT32 ? 128 : 256);
        } else {
            checkVectors("tokens", hidden * type.byteSize());
        }
        checkFits(s, hidden * type.byteSize());
    }

    /** Rows that a combine takes. */
    static void checkPlainCombine(HandleShape s, DataType type, long hidden) {
        checkPlainType(s, "combine", type);
        checkHidden(s, "combine", hidden, s.isLowLatency() ? LL_PACKET : 8);
        checkFits(s, hidden * type.byteSize());
    }

    private static void checkHidden(HandleShape s, String call, long hidden, int multiple) {
        Rule.ROW_LENGTH.require(hidden > 0 && hidden % multiple == 0, "hidden is %d: %s needs a multiple of %d", hidden,
                call,
                multiple);
        Rule.ROW_LENGTH.require(s.isV2() || !s.isLowLatency() || V1_HIDDEN.contains(hidden),
                "hidden is %d: NCCL EP 0.1.0 has low-latency kernels for %s", hidden, V1_HIDDEN);
    }

    private static void checkPlainType(HandleShape s, String call, DataType type) {
        Rule.RECIPE_TYPES.require(s.isV2() ? PLAIN.contains(type) : type == DataType.BFLOAT16,
                "tokens are %s: %s takes %s", type,
                call, s.isV2() ? PLAIN : "BFLOAT16 with NCCL EP 0.1.0");
    }

    private static void checkVectors(String name, long rowBytes) {
        Rule.ROW_LENGTH.require(rowBytes > 0 && rowBytes % VECTOR_BYTES == 0,
                "a row of %s has %d bytes: must be a multiple of %d",
                name, rowBytes, VECTOR_BYTES);
    }

    private static void checkFits(HandleShape s, long bytes) {
        Rule.ROW_BYTES.require(bytes <= s.config().maxTokenBytes(),
                "a row with its scales has %d bytes: the group was created with maxTokenBytes %d", bytes,
                s.config().maxTokenBytes());
    }

    private static void checkForwarded(HandleShape s, DispatchInputs in, DispatchOutputs out, boolean roundScales) {
        EpTensor tokens = in.tokens();
        EpTensor scales = in.scales();
        EpTensor outScales = out.scales();
        Rule.RECIPE_SCALES.require(!roundScales, "roundScales: QUANT_FWD makes no scales, it forwards the caller's");
        checkForwardedTokens(tokens.type(), tokens.rowBytes());
        Rule.RECIPE_SCALES.require(scales != null && outScales != null, "scales %s in, %s out: QUANT_FWD needs both",
                scales,
                outScales);
        if (scales == null || outScales == null) {
            return;
        }
        for (EpTensor tensor : new EpTensor[]{tokens, scales, outScales, out.tokens()}) {
            Rule.RECIPE_ALIGNMENT.require(tensor.address() % VECTOR_BYTES == 0,
                    "%s starts at 0x%x: QUANT_FWD needs multiples of %d", tensor, tensor.address(), VECTOR_BYTES);
        }
        Rule.RECIPE_SCALES.require(scales.dimensions() == 2, "scales are %s: must be [tokens, scales]", scales);
        checkForwardedScales(scales.type(), scales.rowBytes());
        checkFits(s, tokens.rowBytes() + scales.rowBytes());
        Rule.RECIPE_TYPES.require(out.tokens().type() == tokens.type() && outScales.type() == scales.type(),
                "tokens %s and scales %s in, %s and %s out: must be of the same types", tokens, scales, out.tokens(),
                outScales);
        checkScaleRows(s, out, outScales, scales.extent(1));
    }

    private static void checkForwardedTokens(DataType type, long rowBytes) {
        Rule.RECIPE_TYPES.require(FORWARDED.contains(type), "tokens are %s: QUANT_FWD takes %s", type, FORWARDED);
        checkVectors("tokens", rowBytes);
    }

    private static void checkForwardedScales(DataType type, long rowBytes) {
        Rule.RECIPE_TYPES.require(SCALES.contains(type), "scales are %s: QUANT_FWD takes %s", type, SCALES);
        checkVectors("scales", rowBytes);
    }

    private static void checkFp8(HandleShape s, DispatchInputs in, DispatchOutputs out) {
        EpTensor tokens = in.tokens();
        EpTensor outScales = out.scales();
        long hidden = tokens.extent(1);
        checkFp8Rows(s, hidden);
        Rule.RECIPE_TYPES.require(tokens.type() == DataType.BFLOAT16 && out.tokens().type() == DataType.FLOAT8_E4M3,
                "tokens %s in, %s out: DS_FP8E3M4 makes FLOAT8_E4M3 of BFLOAT16", tokens, out.tokens());
        Rule.RECIPE_SCALES.require(in.scales() == null && outScales != null,
                "scales %s in, %s out: DS_FP8E3M4 takes none and makes them", in.scales(), outScales);
        if (outScales != null) {
            Rule.RECIPE_TYPES.require(outScales.type() == DataType.FLOAT32, "scales are %s: DS_FP8E3M4 makes FLOAT32",
                    outScales);
            checkScaleRows(s, out, outScales, hidden / FP8_BLOCK);
        }
    }

    private static void checkFp8Rows(HandleShape s, long hidden) {
        Rule.RECIPE_AVAILABLE.require(s.isLowLatency(), "DS_FP8E3M4 exists for low latency only: use QUANT_FWD");
        Rule.ROW_LENGTH.require(hidden > 0 && hidden % LL_PACKET == 0,
                "hidden is %d: DS_FP8E3M4 needs a multiple of %d", hidden, LL_PACKET);
        checkFits(s, hidden + hidden / FP8_BLOCK * Float.BYTES);
    }

    private static void checkScaleRows(HandleShape s, DispatchOutputs out, EpTensor scales, long width) {
        if (s.isLowLatency()) {
            long[] zones = s.zones();
            Rule.RECIPE_SCALES.require(scales.has(scales.type(), zones[0], zones[1], width),
                    "received scales are %s: must be [%d, %d, %d]", scales, zones[0], zones[1], width);
        } else {
            Rule.RECIPE_SCALES.require(scales.has(scales.type(), out.tokens().rows(), width),
                    "received scales are %s: must be [%d, %d] like the tokens", scales, out.tokens().rows(), width);
            Rule.ZERO_COPY_WINDOWS.require(scales.isInWindow() == out.tokens().isInWindow(),
                    "received tokens %s, scales %s: must both be in windows or both not", out.tokens(), scales);
        }
    }

    private static void checkNvfp4(HandleShape s, DataType type) {
        Rule.V1_FEATURE.require(s.isV2(), "recipe %s needs API v2 of NCCL EP", CombineRecipe.NVFP4);
        Rule.RECIPE_AVAILABLE.require(s.isLowLatency() && s.device().hasFp4(),
                "NVFP4 exists for low latency on devices of compute capability 10.0 and up: this is %s on %d.%d",
                s.config().algorithm(), s.device().computeCapability() / 10, s.device().computeCapability() % 10);
        Rule.RECIPE_TYPES.require(type == DataType.BFLOAT16, "tokens are %s: NVFP4 takes BFLOAT16", type);
    }

    static void checkCombine(HandleShape s, CombineInputs in, CombineOutputs out, @Nullable CombineConfig config) {
        CombineRecipe recipe = config == null ? CombineRecipe.NONE : config.recipe();
        EpTensor tokens = in.tokens();
        EpTensor scales = in.scales();
        long hidden = tokens.extent(tokens.dimensions() - 1);
        if (recipe == CombineRecipe.NVFP4) {
            checkNvfp4(s, tokens.type());
            long[] zones = s.zones();
            Rule.RECIPE_SCALES.require(scales != null && scales.has(DataType.FLOAT32, zones[0], zones[1], 1),
                    "scales are %s: NVFP4 needs FLOAT32 [%d, %d, 1]", scales, zones[0], zones[1]);
        } else {
            Rule.RECIPE_SCALES.require(scales == null, "scales are %s: without a recipe there are none", scales);
        }
        checkPlainCombine(s, tokens.type(), hidden);
        Rule.COMBINE_TYPE.require(out.tokens().type() == tokens.type(), "tokens %s in, %s out: must be of one type",
                tokens,
                out.tokens());
    }
}
