package io.nccl4j.benchmarks.test;

import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.CombineConfig;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.CombineRecipe;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.ExpertIds;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.ep.PassDirection;
import io.nccl4j.nccl.DataType;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The tensors of a case for explicit calls, with the types, windows and direction that it has drawn, closed with their
 * rank. All ranks allocate them in the same order, since windows are collective.
 */
record CallerTensors(CellCase of, MoeRank moe) {
    private static final int LEAST_BYTES = 256;

    /** Allocates all of them. */
    LayerCalls calls() {
        LayerKind kind = of.cell.shape();
        BufferConfig rows = of.rows();
        boolean forward = of.cell.direction() == PassDirection.FORWARD;
        DataType scaleType = rows.scaleType();
        int maxTokens = of.shape().maxTokens();
        int topK = of.shape().topK();
        boolean home = kind == LayerKind.LL_EXPERT_MAJOR;
        EpTensor routing = tensor(rows.routingType(), maxTokens, topK);
        EpTensor weights = tensor(DataType.FLOAT32, maxTokens, topK);
        DispatchInputs inputs = DispatchInputs.of(tensor(rows.tokenType(), maxTokens, rows.tokenElements()),
                home || !forward ? null : weights,
                rows.dispatchRecipe() == DispatchRecipe.QUANT_FWD
                        ? tensor(scaleType, maxTokens, rows.scaleElements())
                        : null);
        EpTensor received = shared(of.windows, rows.receivedType(), places(rows.tokenElements()));
        EpTensor scales = scaleType == null ? null : shared(of.windows, scaleType, places(rows.scaleElements()));
        EpTensor outputs = shared(of.windows && !kind.isLowLatency(), rows.type(), places(rows.hidden()));
        EpTensor outputScales = rows.combineRecipe() == CombineRecipe.NVFP4
                ? tensor(DataType.FLOAT32, places(1))
                : null;
        EpTensor receivedWeights = home
                ? null
                : tensor(DataType.FLOAT32, kind.hasRowPerExpert() ? places() : places(topK));
        EpTensor indices = kind.hasRowPerExpert() || !forward
                ? null
                : tensor(kind.isLowLatency() ? DataType.INT32 : DataType.INT64, places(topK));
        EpTensor combinedWeights = forward ? null : tensor(DataType.FLOAT32, maxTokens, topK);
        return new LayerCalls(routing, weights, updateInfo(kind), dispatchInfo(kind, forward), inputs,
                DispatchOutputs.of(received, forward ? receivedWeights : null, indices, scales),
                CombineInputs.of(outputs, forward ? null : receivedWeights, outputScales),
                CombineOutputs.of(tensor(rows.type(), maxTokens, rows.hidden()), home ? weights : combinedWeights),
                dispatchConfig(rows), combineConfig(rows));
    }

    private @Nullable LayoutInfo updateInfo(LayerKind kind) {
        if (kind.isLowLatency()) {
            return null;
        }
        int experts = of.shape().localExperts();
        DataType type = of.wideCounters ? DataType.INT64 : DataType.INT32;
        LayoutInfo info = LayoutInfo.empty().receivedTotal(tensor(type, 1));
        return kind == LayerKind.HT_FLAT
                ? info.expertCounters(tensor(DataType.INT32, experts))
                : info.expertCounters(tensor(type, experts)).expertOffsets(tensor(type, experts));
    }

    private @Nullable LayoutInfo dispatchInfo(LayerKind kind, boolean forward) {
        ExpertIds ids = of.globalIds ? ExpertIds.GLOBAL : ExpertIds.AUTO;
        return switch (kind) {
            case LL_EXPERT_MAJOR -> LayoutInfo.of(tensor(DataType.INT32, of.shape().localExperts()));
            case LL_RANK_MAJOR ->
                LayoutInfo.empty().sourceRankCounters(tensor(DataType.INT32, of.shape().ranks())).expertIds(ids);
            case HT_FLAT -> of.globalIds && forward ? LayoutInfo.empty().expertIds(ids) : null;
            case HT_EXPERT_MAJOR -> null;
        };
    }

    /** Null where everything is as C's NULL has it, so that both ways are used. */
    private @Nullable DispatchConfig dispatchConfig(BufferConfig rows) {
        DispatchConfig config = DispatchConfig.defaults().direction(of.cell.direction()).recipe(rows.dispatchRecipe());
        if (rows.dispatchRecipe() == DispatchRecipe.DS_FP8E3M4) {
            config = config.roundScales(of.roundScales);
        }
        config = of.cell.mode() == RunMode.STAGED ? config.sendOnly() : config;
        return config == DispatchConfig.defaults() ? null : config;
    }

    private @Nullable CombineConfig combineConfig(BufferConfig rows) {
        CombineConfig config = CombineConfig.defaults().direction(of.cell.direction()).recipe(rows.combineRecipe());
        config = of.cell.mode() == RunMode.STAGED ? config.sendOnly() : config;
        return config == CombineConfig.defaults() ? null : config;
    }

    /** Extents of received rows, and of the elements of one. */
    private long[] places(long... elements) {
        long[] outer = switch (of.cell.shape()) {
            case LL_EXPERT_MAJOR ->
                new long[]{of.shape().localExperts(), (long) of.shape().ranks() * of.shape().maxTokens()};
            case LL_RANK_MAJOR -> new long[]{of.shape().ranks(), of.shape().maxTokens()};
            case HT_FLAT, HT_EXPERT_MAJOR -> new long[]{of.capacity()};
        };
        long[] extents = Arrays.copyOf(outer, outer.length + elements.length);
        System.arraycopy(elements, 0, extents, outer.length, elements.length);
        return extents;
    }

    private EpTensor tensor(DataType type, long... extents) {
        return EpTensor.of(moe.own(DeviceMemory.allocate(moe.device(), bytes(type, extents))), type, extents);
    }

    /** A tensor that peers read or write. */
    private EpTensor shared(boolean window, DataType type, long... extents) {
        if (!window) {
            return tensor(type, extents);
        }
        DeviceMemory memory = moe.own(moe.communicator().allocate(bytes(type, extents)));
        return EpTensor.inWindow(moe.own(moe.communicator().register(memory)).whole(), type, extents);
    }

    private static long bytes(DataType type, long... extents) {
        return Math.max(LEAST_BYTES, type.bytes(Arrays.stream(extents).reduce(1, Math::multiplyExact)));
    }
}
