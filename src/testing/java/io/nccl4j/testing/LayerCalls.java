package io.nccl4j.testing;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.CombineConfig;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.CombineRecipe;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.LayoutInfo;
import org.jspecify.annotations.Nullable;

/**
 * The explicit calls of a layer, one method for each C function, on the tensors of its buffers: all rows, those that
 * route nothing included. The structs are made once.
 */
public final class LayerCalls {
    private final EpBuffers buffers;
    private final EpTensor routing;
    private final @Nullable LayoutInfo updateInfo;
    private final @Nullable LayoutInfo dispatchInfo;
    private final DispatchInputs dispatchInputs;
    private final DispatchOutputs dispatchOutputs;
    private final CombineInputs combineInputs;
    private final CombineOutputs combineOutputs;
    /** Null for C's {@code NULL}. */
    private final @Nullable DispatchConfig dispatchConfig;
    private final @Nullable CombineConfig combineConfig;
    private final DispatchConfig sendOnlyDispatch;
    private final CombineConfig sendOnlyCombine;

    /** Makes the structs for the buffers of a handle. */
    public LayerCalls(EpBuffers buffers) {
        this.buffers = buffers;
        routing = buffers.routing();
        LayerKind kind = LayerKind.of(buffers.handle().group().config().algorithm(), buffers.handle().layout());
        LayoutInfo info = info(kind);
        updateInfo = kind.isLowLatency() ? null : info;
        dispatchInfo = kind.isLowLatency() ? info : null;
        // This kind takes the weights in combine, the others in dispatch.
        boolean home = kind == LayerKind.LL_EXPERT_MAJOR;
        EpTensor indices = kind.hasRowPerExpert() ? null : buffers.receivedIndices();
        boolean forwarded = buffers.config().dispatchRecipe() == DispatchRecipe.QUANT_FWD;
        boolean scaled = buffers.config().dispatchRecipe() != DispatchRecipe.NONE;
        boolean quantised = buffers.config().combineRecipe() != CombineRecipe.NONE;
        dispatchInputs = DispatchInputs.of(buffers.tokens(), home ? null : buffers.weights(),
                forwarded ? buffers.scales() : null);
        dispatchOutputs = DispatchOutputs.of(buffers.received(), home ? null : buffers.receivedWeights(), indices,
                scaled ? buffers.receivedScales() : null);
        combineInputs = CombineInputs.of(buffers.expertOutputs(), null,
                quantised ? buffers.expertOutputScales() : null);
        combineOutputs = CombineOutputs.of(buffers.combined(), home ? buffers.weights() : null);
        dispatchConfig = scaled ? buffers.dispatchConfig() : null;
        combineConfig = quantised ? buffers.combineConfig() : null;
        sendOnlyDispatch = buffers.dispatchConfig().sendOnly();
        sendOnlyCombine = buffers.combineConfig().sendOnly();
    }

    private LayoutInfo info(LayerKind kind) {
        if (kind == LayerKind.LL_RANK_MAJOR) {
            return LayoutInfo.builder().sourceRankCounters(buffers.sourceRankCounts()).build();
        }
        LayoutInfo.Builder info = LayoutInfo.builder().expertCounters(buffers.expertCounts());
        if (kind == LayerKind.HT_EXPERT_MAJOR) {
            info.expertOffsets(buffers.expertOffsets());
        }
        return kind.isLowLatency() ? info.build() : info.receivedTotal(buffers.receivedTotal()).build();
    }

    /** {@code ncclEpUpdateHandle}. */
    public void update(EpHandle handle, CudaStream stream) {
        handle.update(routing, updateInfo, stream);
    }

    /** {@code ncclEpDispatch}. */
    public void dispatch(EpHandle handle, CudaStream stream) {
        handle.dispatch(dispatchInputs, dispatchOutputs, dispatchInfo, dispatchConfig, stream);
    }

    /** {@code ncclEpCombine}. */
    public void combine(EpHandle handle, CudaStream stream) {
        handle.combine(combineInputs, combineOutputs, combineConfig, stream);
    }

    /** The send half of dispatch and {@code ncclEpComplete}; low latency only. */
    public void stagedDispatch(EpHandle handle, CudaStream stream) {
        handle.dispatch(dispatchInputs, dispatchOutputs, dispatchInfo, sendOnlyDispatch, stream);
        handle.complete();
    }

    /** The send half of combine and {@code ncclEpComplete}; low latency only. */
    public void stagedCombine(EpHandle handle, CudaStream stream) {
        handle.combine(combineInputs, combineOutputs, sendOnlyCombine, stream);
        handle.complete();
    }
}
