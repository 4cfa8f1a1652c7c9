package io.nccl4j.examples.moe.step;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.ep.Layout;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Dispatch and combine by a handle that is created and destroyed for each layer, as servers do it that do not keep
 * handles: for comparison. Cannot be captured.
 */
final class HandlePerLayer implements DecodeStep.Exchange, AutoCloseable {
    private final EpGroup group;
    private final EpTensor routing;
    private final DispatchInputs dispatchInputs;
    private final DispatchOutputs dispatchOutputs;
    private final LayoutInfo counters;
    private final CombineInputs combineInputs;
    private final CombineOutputs combineOutputs;
    private @Nullable EpHandle handle;

    /** @param rows of all steps */
    HandlePerLayer(EpBuffers buffers, int rows) {
        group = buffers.handle().group();
        routing = first(rows, buffers.routing());
        dispatchInputs = DispatchInputs.of(first(rows, buffers.tokens()));
        dispatchOutputs = DispatchOutputs.of(buffers.received());
        counters = LayoutInfo.of(buffers.expertCounts());
        combineInputs = CombineInputs.of(buffers.expertOutputs());
        combineOutputs = CombineOutputs.of(first(rows, buffers.combined()), first(rows, buffers.weights()));
    }

    private static EpTensor first(int rows, EpTensor all) {
        return EpTensor.of(all.memory(), all.type(), rows, all.shape()[1]);
    }

    @Override
    public void dispatch(CudaStream stream) {
        handle = group.createHandle(Layout.EXPERT_MAJOR, routing, null, HandleConfig.defaults(), stream);
        handle.dispatch(dispatchInputs, dispatchOutputs, counters, stream);
    }

    @Override
    public void combine(CudaStream stream) {
        EpHandle mine = Objects.requireNonNull(handle, "combine before dispatch");
        mine.combine(combineInputs, combineOutputs, stream);
        mine.close();
        handle = null;
    }

    /** Closes the handle of a layer that has failed. */
    @Override
    public void close() {
        if (handle != null) {
            handle.close();
        }
    }
}
