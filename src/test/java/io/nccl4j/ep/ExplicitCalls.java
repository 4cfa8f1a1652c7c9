package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.WeightGradients;
import io.nccl4j.testing.ExpertFunction;
import io.nccl4j.testing.HostMirror;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.LayerRows;
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
    void run(EmulatedCluster cluster, BiConsumer<LayerRows, CudaStream> prepare) {
        cluster.run(rank -> {
            try (MoeRank moe = MoeRank.of(rank, kind, batch, config)) {
                EpHandle handle = moe.own(moe.group().createHandle());
                BufferConfig quantised = rows.apply(moe.rows());
                LayerCalls calls = new OwnTensors(moe).backward(gradients != null).windows(windows).globalIds(globalIds)
                        .calls(handle, quantised);
                LayerRows layer = moe.own(new LayerRows(handle, calls, quantised,
                        ExpertFunction.scaling().onRows(quantised), moe.stream()));
                moe.checkStep(layer, batch, tokens -> {
                    calls.rows(tokens);
                    calls.update(handle, moe.stream());
                    prepare.accept(layer, moe.stream());
                    calls.dispatch(handle, moe.stream());
                    experts(layer, moe);
                    calls.combine(handle, moe.stream());
                });
                layer.verifyBehind(layer.count(batch));
                if (gradients != null) {
                    layer.oracle(batch.inputs()).verifyGradients(moe.rank(), gradients,
                            mirror(layer, calls.combineOutputs().weights()).fetch().floats(), layer.count(batch));
                }
            }
        });
    }

    /** Backward, the experts' rows and gradients are known beforehand. */
    private void experts(LayerRows layer, MoeRank moe) {
        if (gradients == null) {
            layer.experts(moe.stream());
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

    private static HostMirror mirror(LayerRows layer, @Nullable EpTensor tensor) {
        return Objects.requireNonNull(layer.mirror(tensor));
    }
}
