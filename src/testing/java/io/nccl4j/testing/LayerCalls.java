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
import java.util.Arrays;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The arguments of a layer's explicit calls, made once, and the calls: one method for each C function.
 *
 * @param weights of routing, wherever the kind takes them
 * @param updateInfo counters that update writes; null in low latency
 * @param dispatchInfo counters that dispatch writes, or how it numbers experts
 */
public record LayerCalls(EpTensor routing, EpTensor weights, @Nullable LayoutInfo updateInfo,
        @Nullable LayoutInfo dispatchInfo, DispatchInputs inputs, DispatchOutputs outputs, CombineInputs combineInputs,
        CombineOutputs combineOutputs, @Nullable DispatchConfig dispatchConfig, @Nullable CombineConfig combineConfig) {

    /** On the tensors of buffers: all rows, those that route nothing included. */
    public static LayerCalls of(EpBuffers buffers) {
        LayerKind kind = LayerKind.of(buffers.handle());
        LayoutInfo info = info(buffers, kind);
        // This kind takes the weights in combine, the others in dispatch.
        boolean home = kind == LayerKind.LL_EXPERT_MAJOR;
        EpTensor weights = home ? null : buffers.weights();
        boolean scaled = buffers.config().dispatchRecipe() != DispatchRecipe.NONE;
        boolean forwarded = buffers.config().dispatchRecipe() == DispatchRecipe.QUANT_FWD;
        boolean quantised = buffers.config().combineRecipe() != CombineRecipe.NONE;
        return new LayerCalls(buffers.routing(), buffers.weights(), kind.isLowLatency() ? null : info,
                kind.isLowLatency() ? info : null,
                DispatchInputs.of(buffers.tokens(), weights, forwarded ? buffers.scales() : null),
                DispatchOutputs.of(buffers.received(), home ? null : buffers.receivedWeights(),
                        kind.hasRowPerExpert() ? null : buffers.receivedIndices(),
                        scaled ? buffers.receivedScales() : null),
                CombineInputs.of(buffers.expertOutputs(), null, quantised ? buffers.expertOutputScales() : null),
                CombineOutputs.of(buffers.combined(), home ? buffers.weights() : null),
                scaled ? buffers.dispatchConfig() : null, quantised ? buffers.combineConfig() : null);
    }

    private static LayoutInfo info(EpBuffers buffers, LayerKind kind) {
        if (kind == LayerKind.LL_RANK_MAJOR) {
            return LayoutInfo.empty().sourceRankCounters(buffers.sourceRankCounts());
        }
        LayoutInfo info = LayoutInfo.of(buffers.expertCounts());
        if (kind == LayerKind.HT_EXPERT_MAJOR) {
            info = info.expertOffsets(buffers.expertOffsets());
        }
        return kind.isLowLatency() ? info : info.receivedTotal(buffers.receivedTotal());
    }

    /** The counters. */
    public LayoutInfo counters() {
        return updateInfo != null ? updateInfo : Objects.requireNonNull(dispatchInfo);
    }

    /** All tensors. */
    Stream<EpTensor> tensors() {
        return Stream.concat(written(), present(routing, weights, inputs.tokens(), inputs.scales(),
                combineInputs.weights(), combineInputs.scales()));
    }

    /** Those that the device writes, and the experts. */
    Stream<EpTensor> written() {
        LayoutInfo info = counters();
        return present(outputs.tokens(), outputs.scales(), outputs.weights(), outputs.indices(), info.expertCounters(),
                info.sourceRankCounters(), info.expertOffsets(), info.receivedTotal(), combineInputs.tokens(),
                combineOutputs.tokens(), combineOutputs.weights() == weights ? null : combineOutputs.weights());
    }

    private static Stream<EpTensor> present(@Nullable EpTensor... tensors) {
        return Arrays.stream(tensors).filter(Objects::nonNull);
    }

    /** Sets T on tensors of the caller; those of buffers keep their shape. */
    public void rows(long tokens) {
        present(routing, weights, inputs.tokens(), inputs.scales(), combineOutputs.tokens(), combineOutputs.weights())
                .forEach(tensor -> tensor.rows(tokens));
    }

    /** Sets the number of received rows on tensors of the caller, as an eager group wants it. */
    public void receivedRows(long rows) {
        present(outputs.tokens(), outputs.scales(), outputs.weights(), outputs.indices(), combineInputs.tokens(),
                combineInputs.weights()).forEach(tensor -> tensor.rows(rows));
    }

    /** {@code ncclEpUpdateHandle}. */
    public void update(EpHandle handle, CudaStream stream) {
        handle.update(routing, updateInfo, stream);
    }

    /** {@code ncclEpDispatch}. */
    public void dispatch(EpHandle handle, CudaStream stream) {
        handle.dispatch(inputs, outputs, dispatchInfo, dispatchConfig, stream);
    }

    /** {@code ncclEpCombine}. */
    public void combine(EpHandle handle, CudaStream stream) {
        handle.combine(combineInputs, combineOutputs, combineConfig, stream);
    }
}
