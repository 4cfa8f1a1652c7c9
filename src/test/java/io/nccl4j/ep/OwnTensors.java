package io.nccl4j.ep;

import io.nccl4j.NativeObject;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.MoeRank;
import org.jspecify.annotations.Nullable;

/** Tensors of the caller for the explicit calls of a handle, by the table of their shapes. */
public final class OwnTensors {
    private final Communicator communicator;
    private final Owner owner;
    private boolean backward;
    private boolean windows;
    private boolean globalIds;

    /** The one who closes them. */
    @FunctionalInterface
    interface Owner {
        <T extends NativeObject> T own(T resource);
    }

    OwnTensors(Communicator communicator, Owner owner) {
        this.communicator = communicator;
        this.owner = owner;
    }

    public OwnTensors(MoeRank moe) {
        this(moe.communicator(), moe::own);
    }

    /** Dispatch takes no weights; combine takes their gradients. */
    OwnTensors backward(boolean value) {
        backward = value;
        return this;
    }

    /** Whether received rows lie in windows. */
    OwnTensors windows(boolean value) {
        windows = value;
        return this;
    }

    /** Whether received indices of FLAT number experts globally. */
    OwnTensors globalIds(boolean value) {
        globalIds = value;
        return this;
    }

    /** Allocates all of them. */
    public LayerCalls calls(EpHandle handle, BufferConfig rows) {
        LayerTensors shapes = LayerTensors.of(handle.shape(), rows);
        LayerTensors.Dispatch dispatch = shapes.dispatch();
        LayerTensors.Combine combine = shapes.combine();
        boolean lowLatency = handle.shape().isLowLatency();
        EpTensor weights = tensor(shapes.weights());
        EpTensor gradients = backward ? tensor(shapes.weights()) : null;
        EpTensor receivedWeights = tensor(dispatch.receivedWeights());
        LayoutInfo counters = counters(shapes.counters());
        LayoutInfo ids = globalIds ? LayoutInfo.empty().expertIds(ExpertIds.GLOBAL) : null;
        return new LayerCalls(tensor(shapes.routing()), weights, lowLatency ? null : counters,
                lowLatency ? counters : ids,
                DispatchInputs.of(tensor(dispatch.tokens()), dispatch.weights() == null || backward ? null : weights,
                        tensor(dispatch.scales())),
                DispatchOutputs.of(windows ? windowed(dispatch.received()) : tensor(dispatch.received()),
                        backward ? null : receivedWeights, backward ? null : tensor(dispatch.receivedIndices()),
                        tensor(dispatch.receivedScales())),
                CombineInputs.of(tensor(combine.outputs()), backward ? receivedWeights : null),
                CombineOutputs.of(tensor(combine.combined()), combine.weights() == null ? gradients : weights),
                dispatchConfig(rows), backward ? CombineConfig.defaults().direction(PassDirection.BACKWARD) : null);
    }

    /** Null where everything is as C's NULL has it. */
    private @Nullable DispatchConfig dispatchConfig(BufferConfig rows) {
        DispatchConfig config = DispatchConfig.defaults().recipe(rows.dispatchRecipe());
        if (rows.dispatchRecipe() == DispatchRecipe.DS_FP8E3M4) {
            return config.roundScales(true);
        }
        return backward
                ? config.direction(PassDirection.BACKWARD)
                : config == DispatchConfig.defaults() ? null : config;
    }

    private LayoutInfo counters(LayerTensors.Counters shapes) {
        if (shapes.sourceRanks() != null) {
            return LayoutInfo.empty().sourceRankCounters(tensor(shapes.sourceRanks()));
        }
        LayoutInfo info = LayoutInfo.of(tensor(shapes.experts()));
        if (shapes.offsets() != null) {
            return info.expertOffsets(tensor(shapes.offsets())).receivedTotal(tensor(shapes.total()));
        }
        // FLAT leaves its width open.
        return shapes.total() == null ? info : info.receivedTotal(tensor(TensorShape.of(DataType.INT64, 1)));
    }

    private @Nullable EpTensor tensor(@Nullable TensorShape shape) {
        return shape == null ? null : tensor(shape.type(), shape.extents());
    }

    EpTensor tensor(DataType type, long... shape) {
        long bytes = Math.max(256, TensorShape.of(type, shape).bytes());
        return EpTensor.of(owner.own(DeviceMemory.allocate(communicator.device(), bytes)), type, shape);
    }

    private EpTensor windowed(TensorShape shape) {
        return windowed(shape.type(), shape.extents());
    }

    EpTensor windowed(DataType type, long... shape) {
        DeviceMemory memory = owner.own(communicator.allocate(Math.max(256, TensorShape.of(type, shape).bytes())));
        return EpTensor.inWindow(owner.own(communicator.register(memory)).whole(), type, shape);
    }
}
