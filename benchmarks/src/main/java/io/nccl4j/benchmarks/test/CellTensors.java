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
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.Window;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerKind;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import org.jspecify.annotations.Nullable;

/**
 * The tensors of a case with the types and windows that it has drawn. Allocated by all ranks in the same order, since
 * windows are collective.
 */
final class CellTensors implements AutoCloseable {
    private final CellCase of;
    private final LayerKind kind;
    private final EpShape shape;
    private final boolean forward;
    private final Communicator communicator;
    private final Deque<Runnable> closing = new ArrayDeque<>();

    CellTensors(CellCase of, Communicator communicator) {
        this.of = of;
        this.communicator = communicator;
        kind = of.cell().shape();
        shape = of.shape();
        forward = of.cell().direction() == PassDirection.FORWARD;
    }

    /** Allocates all of them. */
    LayerCalls calls() {
        BufferConfig rows = of.rows();
        DataType scaleType = rows.scaleType();
        boolean home = kind == LayerKind.LL_EXPERT_MAJOR;
        long most = shape.maxTokens();
        EpTensor routing = tensor(of.wideRouting() ? DataType.INT64 : DataType.INT32, most, shape.topK());
        EpTensor weights = tensor(DataType.FLOAT32, most, shape.topK());
        DispatchInputs inputs = DispatchInputs.of(tensor(rows.tokenType(), most, rows.tokenElements()),
                home || !forward ? null : weights,
                rows.dispatchRecipe() == DispatchRecipe.QUANT_FWD
                        ? tensor(scaleType, most, rows.scaleElements())
                        : null);
        EpTensor received = shared(of.windows(), rows.receivedType(), places(rows.tokenElements()));
        EpTensor scales = scaleType == null ? null : shared(of.windows(), scaleType, places(rows.scaleElements()));
        EpTensor outputs = shared(of.windows() && !kind.isLowLatency(), rows.type(), places(rows.hidden()));
        EpTensor outputScales = rows.combineRecipe() == CombineRecipe.NVFP4
                ? tensor(DataType.FLOAT32, places(1))
                : null;
        EpTensor receivedWeights = home
                ? null
                : tensor(DataType.FLOAT32, kind.hasRowPerExpert() ? places() : places(shape.topK()));
        EpTensor indices = kind.hasRowPerExpert() || !forward
                ? null
                : tensor(kind.isLowLatency() ? DataType.INT32 : DataType.INT64, places(shape.topK()));
        EpTensor combinedWeights = forward ? null : tensor(DataType.FLOAT32, most, shape.topK());
        return new LayerCalls(routing, weights, updateInfo(), dispatchInfo(), inputs,
                DispatchOutputs.of(received, forward ? receivedWeights : null, indices, scales),
                CombineInputs.of(outputs, forward ? null : receivedWeights, outputScales),
                CombineOutputs.of(tensor(rows.type(), most, rows.hidden()), home ? weights : combinedWeights),
                dispatchConfig(), combineConfig());
    }

    private @Nullable LayoutInfo updateInfo() {
        if (kind.isLowLatency()) {
            return null;
        }
        DataType counters = of.wideCounters() ? DataType.INT64 : DataType.INT32;
        LayoutInfo.Builder info = LayoutInfo.builder().receivedTotal(tensor(counters, 1));
        return kind == LayerKind.HT_FLAT
                ? info.expertCounters(tensor(DataType.INT32, shape.localExperts())).build()
                : info.expertCounters(tensor(counters, shape.localExperts()))
                        .expertOffsets(tensor(counters, shape.localExperts())).build();
    }

    private @Nullable LayoutInfo dispatchInfo() {
        ExpertIds ids = of.globalIds() ? ExpertIds.GLOBAL : ExpertIds.AUTO;
        return switch (kind) {
            case LL_EXPERT_MAJOR -> LayoutInfo.of(tensor(DataType.INT32, shape.localExperts()));
            case LL_RANK_MAJOR -> LayoutInfo.builder().sourceRankCounters(tensor(DataType.INT32, shape.ranks()))
                    .expertIds(ids).build();
            case HT_FLAT -> of.globalIds() && forward ? LayoutInfo.builder().expertIds(ids).build() : null;
            case HT_EXPERT_MAJOR -> null;
        };
    }

    /** Null where everything is as C's NULL has it, so that both ways are used. */
    private @Nullable DispatchConfig dispatchConfig() {
        DispatchConfig config = DispatchConfig.defaults().direction(of.cell().direction())
                .recipe(of.rows().dispatchRecipe());
        if (of.rows().dispatchRecipe() == DispatchRecipe.DS_FP8E3M4) {
            config = config.roundScales(of.roundScales());
        }
        config = of.cell().mode() == RunMode.STAGED ? config.sendOnly() : config;
        return config == DispatchConfig.defaults() ? null : config;
    }

    private @Nullable CombineConfig combineConfig() {
        CombineConfig config = CombineConfig.defaults().direction(of.cell().direction())
                .recipe(of.rows().combineRecipe());
        config = of.cell().mode() == RunMode.STAGED ? config.sendOnly() : config;
        return config == CombineConfig.defaults() ? null : config;
    }

    /** Extents of received rows, and of the elements of one. */
    private long[] places(long... elements) {
        long[] rows = switch (kind) {
            case LL_EXPERT_MAJOR -> new long[]{shape.localExperts(), (long) shape.ranks() * shape.maxTokens()};
            case LL_RANK_MAJOR -> new long[]{shape.ranks(), shape.maxTokens()};
            case HT_FLAT, HT_EXPERT_MAJOR -> new long[]{of.capacity()};
        };
        long[] extents = Arrays.copyOf(rows, rows.length + elements.length);
        System.arraycopy(elements, 0, extents, rows.length, elements.length);
        return extents;
    }

    private EpTensor tensor(DataType type, long... extents) {
        DeviceMemory memory = DeviceMemory.allocate(communicator.device(), bytes(type, extents));
        closing.push(memory::close);
        return EpTensor.of(memory, type, extents);
    }

    /** A tensor that peers read or write. */
    private EpTensor shared(boolean window, DataType type, long... extents) {
        if (!window) {
            return tensor(type, extents);
        }
        DeviceMemory memory = communicator.allocate(bytes(type, extents));
        closing.push(memory::close);
        Window registered = communicator.register(memory);
        closing.push(registered::close);
        return EpTensor.inWindow(registered.whole(), type, extents);
    }

    private static long bytes(DataType type, long... extents) {
        return Math.max(16, type.bytes(Arrays.stream(extents).reduce(1, Math::multiplyExact)));
    }

    @Override
    public void close() {
        while (!closing.isEmpty()) {
            closing.pop().run();
        }
    }
}
