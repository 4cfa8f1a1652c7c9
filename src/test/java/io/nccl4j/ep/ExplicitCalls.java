package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.WeightGradients;
import io.nccl4j.testing.ExpertFunction;
import io.nccl4j.testing.HostMirror;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.Objects;
import java.util.function.BiConsumer;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/** A step of explicit calls on tensors of the caller, all rows compared. */
final class ExplicitCalls {
    private final LayerKind kind;
    private final EpCase batch;
    private UnaryOperator<EpGroupConfig> config = same -> same;
    private UnaryOperator<BufferConfig> rows = same -> same;
    private @Nullable WeightGradients gradients;
    private boolean windows;
    private boolean globalIds;

    ExplicitCalls(LayerKind kind, EpCase batch) {
        this.kind = kind;
        this.batch = batch;
    }

    /** Changes the group. */
    ExplicitCalls config(UnaryOperator<EpGroupConfig> value) {
        config = value;
        return this;
    }

    /** Changes the quantisation. */
    ExplicitCalls rows(UnaryOperator<BufferConfig> value) {
        rows = value;
        return this;
    }

    /** Makes it a backward pass, behind a forward one, with these gradients of weights. */
    ExplicitCalls backward(WeightGradients value) {
        gradients = value;
        return this;
    }

    /** Received rows lie in windows. */
    ExplicitCalls windows() {
        windows = true;
        return this;
    }

    /** Received indices number experts globally. */
    ExplicitCalls globalIds() {
        globalIds = true;
        return this;
    }

    void run(EmulatedCluster cluster) {
        run(cluster, (layer, stream) -> {
        });
    }

    /** @param prepare comes between update and dispatch */
    void run(EmulatedCluster cluster, BiConsumer<MoeLayer, CudaStream> prepare) {
        cluster.run(rank -> {
            try (MoeRank moe = MoeRank.of(rank, kind, batch, config)) {
                EpHandle handle = moe.own(moe.group().createHandle());
                BufferConfig quantised = rows.apply(moe.rows());
                LayerCalls calls = calls(moe, LayerTensors.of(handle.shape(), quantised), quantised);
                MoeLayer layer = moe.own(new MoeLayer(handle, calls, quantised,
                        ExpertFunction.scaling().onRows(quantised), moe.stream()));
                moe.checkStep(layer, batch, tokens -> {
                    calls.rows(tokens);
                    calls.update(handle, moe.stream());
                    prepare.accept(layer, moe.stream());
                    calls.dispatch(handle, moe.stream());
                    experts(layer, moe);
                    calls.combine(handle, moe.stream());
                });
                if (gradients != null) {
                    layer.oracle(batch.inputs()).verifyGradients(moe.rank(), gradients,
                            mirror(layer, calls.combineOutputs().weights()).fetch().floats(), layer.count(batch));
                }
            }
        });
    }

    /** Backward, the experts' rows and gradients are known beforehand. */
    private void experts(MoeLayer layer, MoeRank moe) {
        if (gradients == null) {
            layer.experts();
            return;
        }
        HostMirror outputs = mirror(layer, layer.calls().combineInputs().tokens());
        HostMirror weights = mirror(layer, layer.calls().combineInputs().weights());
        int columns = kind.hasRowPerExpert() ? 1 : layer.handle().topK();
        layer.oracle(batch.inputs()).backward(moe.rank(), gradients, (slot, row, values) -> {
            outputs.row(slot, row);
            for (int column = 0; column < values.length; column++) {
                weights.floats(slot * columns + column, values[column]);
            }
        });
        outputs.toDevice(moe.stream());
        weights.toDevice(moe.stream());
    }

    private static HostMirror mirror(MoeLayer layer, @Nullable EpTensor tensor) {
        return Objects.requireNonNull(layer.mirror(tensor));
    }

    private LayerCalls calls(MoeRank moe, LayerTensors shapes, BufferConfig quantised) {
        boolean forward = gradients == null;
        LayerTensors.Dispatch dispatch = shapes.dispatch();
        LayerTensors.Combine combine = shapes.combine();
        EpTensor weights = tensor(moe, shapes.weights());
        EpTensor receivedWeights = tensor(moe, dispatch.receivedWeights());
        EpTensor combinedWeights = combine.weights() != null ? weights : forward ? null : tensor(moe, shapes.weights());
        LayoutInfo counters = counters(moe, shapes.counters());
        LayoutInfo info = kind.isLowLatency()
                ? counters
                : globalIds ? LayoutInfo.builder().expertIds(ExpertIds.GLOBAL).build() : null;
        DispatchConfig dispatchConfig = DispatchConfig.defaults().recipe(quantised.dispatchRecipe())
                .direction(forward ? PassDirection.FORWARD : PassDirection.BACKWARD);
        return new LayerCalls(tensor(moe, shapes.routing()), weights, kind.isLowLatency() ? null : counters, info,
                DispatchInputs.of(tensor(moe, dispatch.tokens()),
                        dispatch.weights() == null || !forward ? null : weights, tensor(moe, dispatch.scales())),
                DispatchOutputs.of(windows ? windowed(moe, dispatch.received()) : tensor(moe, dispatch.received()),
                        forward ? receivedWeights : null, forward ? tensor(moe, dispatch.receivedIndices()) : null,
                        tensor(moe, dispatch.receivedScales())),
                CombineInputs.of(tensor(moe, combine.outputs()), forward ? null : receivedWeights),
                CombineOutputs.of(tensor(moe, combine.combined()), combinedWeights),
                quantised.dispatchRecipe() == DispatchRecipe.DS_FP8E3M4
                        ? dispatchConfig.roundScales(true)
                        : dispatchConfig,
                forward ? null : CombineConfig.defaults().direction(PassDirection.BACKWARD));
    }

    private static LayoutInfo counters(MoeRank moe, LayerTensors.Counters shapes) {
        LayoutInfo.Builder info = LayoutInfo.builder();
        if (shapes.sourceRanks() != null) {
            return info.sourceRankCounters(tensor(moe, shapes.sourceRanks())).build();
        }
        info.expertCounters(tensor(moe, shapes.experts()));
        if (shapes.offsets() != null) {
            info.expertOffsets(tensor(moe, shapes.offsets())).receivedTotal(tensor(moe, shapes.total()));
        } else if (shapes.total() != null) {
            // FLAT leaves its width open.
            info.receivedTotal(tensor(moe, TensorShape.of(DataType.INT64, 1)));
        }
        return info.build();
    }

    private static @Nullable EpTensor tensor(MoeRank moe, @Nullable TensorShape shape) {
        return shape == null
                ? null
                : EpTensor.of(moe.own(DeviceMemory.allocate(moe.device(), Math.max(256, shape.bytes()))), shape.type(),
                        shape.extents());
    }

    private static EpTensor windowed(MoeRank moe, TensorShape shape) {
        DeviceMemory memory = moe.own(moe.communicator().allocate(Math.max(256, shape.bytes())));
        return EpTensor.inWindow(moe.own(moe.communicator().register(memory)).whole(), shape.type(), shape.extents());
    }
}
