package io.nccl4j.testing;

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
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.ExpertIds;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.ep.PassDirection;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.Window;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import org.jspecify.annotations.Nullable;

/**
 * Tensors of the caller's own for the explicit calls of a handle, where those of {@link io.nccl4j.ep.EpBuffers} will
 * not do: with types, windows and a direction to choose. All ranks allocate them in the same order, since windows are
 * collective.
 */
public final class LayerTensors implements AutoCloseable {
    private static final int LEAST_BYTES = 256;

    private final EpHandle handle;
    private final Communicator communicator;
    private final LayerKind kind;
    private final BufferConfig rows;
    private final int maxTokens;
    private final Deque<Runnable> closing = new ArrayDeque<>();
    private PassDirection direction = PassDirection.FORWARD;
    private boolean windows;
    private DataType counterType = DataType.INT32;
    private ExpertIds ids = ExpertIds.AUTO;
    private boolean roundScales;
    private long receiveRows;

    /** @param rows type, length and quantisation of rows; type of routing */
    public LayerTensors(EpHandle handle, BufferConfig rows) {
        this.handle = handle;
        this.rows = rows;
        communicator = handle.group().communicator();
        kind = LayerKind.of(handle.group().config().algorithm(), handle.layout());
        maxTokens = handle.group().config().maxTokensPerRank();
        receiveRows = handle.group().sizing().receiveRows();
    }

    /** Backward, dispatch takes no weights; combine takes their gradients. */
    public LayerTensors direction(PassDirection value) {
        direction = value;
        return this;
    }

    /** Whether received rows, and in high throughput the experts' outputs, lie in windows. */
    public LayerTensors windows(boolean value) {
        windows = value;
        return this;
    }

    /** INT64 or INT32, of those counters of high throughput that may be either. */
    public LayerTensors counterType(DataType value) {
        counterType = value;
        return this;
    }

    /** How experts are numbered in received indices. */
    public LayerTensors expertIds(ExpertIds value) {
        ids = value;
        return this;
    }

    /** Whether scales that dispatch makes are powers of two. */
    public LayerTensors roundScales(boolean value) {
        roundScales = value;
        return this;
    }

    /** Rows that high throughput has room for, instead of those of the group. */
    public LayerTensors receiveRows(long value) {
        receiveRows = value;
        return this;
    }

    /** Allocates all of them. */
    public LayerCalls calls() {
        boolean forward = direction == PassDirection.FORWARD;
        DataType scaleType = rows.scaleType();
        int topK = handle.topK();
        boolean home = kind == LayerKind.LL_EXPERT_MAJOR;
        EpTensor routing = tensor(rows.routingType(), maxTokens, topK);
        EpTensor weights = tensor(DataType.FLOAT32, maxTokens, topK);
        DispatchInputs inputs = DispatchInputs.of(tensor(rows.tokenType(), maxTokens, rows.tokenElements()),
                home || !forward ? null : weights,
                rows.dispatchRecipe() == DispatchRecipe.QUANT_FWD
                        ? tensor(scaleType, maxTokens, rows.scaleElements())
                        : null);
        EpTensor received = shared(windows, rows.receivedType(), places(rows.tokenElements()));
        EpTensor scales = scaleType == null ? null : shared(windows, scaleType, places(rows.scaleElements()));
        EpTensor outputs = shared(windows && !kind.isLowLatency(), rows.type(), places(rows.hidden()));
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
        return new LayerCalls(routing, weights, updateInfo(), dispatchInfo(), inputs,
                DispatchOutputs.of(received, forward ? receivedWeights : null, indices, scales),
                CombineInputs.of(outputs, forward ? null : receivedWeights, outputScales),
                CombineOutputs.of(tensor(rows.type(), maxTokens, rows.hidden()), home ? weights : combinedWeights),
                dispatchConfig(), combineConfig());
    }

    private @Nullable LayoutInfo updateInfo() {
        if (kind.isLowLatency()) {
            return null;
        }
        int experts = handle.group().sizing().localExperts();
        LayoutInfo info = LayoutInfo.empty().receivedTotal(tensor(counterType, 1));
        return kind == LayerKind.HT_FLAT
                ? info.expertCounters(tensor(DataType.INT32, experts))
                : info.expertCounters(tensor(counterType, experts)).expertOffsets(tensor(counterType, experts));
    }

    private @Nullable LayoutInfo dispatchInfo() {
        return switch (kind) {
            case LL_EXPERT_MAJOR -> LayoutInfo.of(tensor(DataType.INT32, handle.group().sizing().localExperts()));
            case LL_RANK_MAJOR ->
                LayoutInfo.empty().sourceRankCounters(tensor(DataType.INT32, communicator.size())).expertIds(ids);
            case HT_FLAT -> ids == ExpertIds.GLOBAL && direction == PassDirection.FORWARD
                    ? LayoutInfo.empty().expertIds(ids)
                    : null;
            case HT_EXPERT_MAJOR -> null;
        };
    }

    /** Null where everything is as C's NULL has it, so that both ways are used. */
    private @Nullable DispatchConfig dispatchConfig() {
        DispatchConfig config = DispatchConfig.defaults().direction(direction).recipe(rows.dispatchRecipe());
        if (rows.dispatchRecipe() == DispatchRecipe.DS_FP8E3M4) {
            config = config.roundScales(roundScales);
        }
        return config == DispatchConfig.defaults() ? null : config;
    }

    private @Nullable CombineConfig combineConfig() {
        CombineConfig config = CombineConfig.defaults().direction(direction).recipe(rows.combineRecipe());
        return config == CombineConfig.defaults() ? null : config;
    }

    /** Extents of received rows, and of the elements of one. */
    private long[] places(long... elements) {
        long[] outer = switch (kind) {
            case LL_EXPERT_MAJOR ->
                new long[]{handle.group().sizing().localExperts(), (long) communicator.size() * maxTokens};
            case LL_RANK_MAJOR -> new long[]{communicator.size(), maxTokens};
            case HT_FLAT, HT_EXPERT_MAJOR -> new long[]{receiveRows};
        };
        long[] extents = Arrays.copyOf(outer, outer.length + elements.length);
        System.arraycopy(elements, 0, extents, outer.length, elements.length);
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
        return Math.max(LEAST_BYTES, type.bytes(Arrays.stream(extents).reduce(1, Math::multiplyExact)));
    }

    @Override
    public void close() {
        while (!closing.isEmpty()) {
            closing.pop().run();
        }
    }
}
