package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.ExpertFunction;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.LayerTensors;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import io.nccl4j.testing.RowFunction;
import java.util.function.BiConsumer;
import java.util.function.UnaryOperator;

/**
 * A step of explicit calls on tensors of the caller, all rows compared.
 *
 * @param config changes the group
 * @param rows changes the quantisation
 * @param options changes the tensors
 */
record ExplicitCalls(LayerKind kind, EpCase batch, UnaryOperator<EpGroupConfig> config,
        UnaryOperator<BufferConfig> rows, UnaryOperator<LayerTensors> options) {

    ExplicitCalls(LayerKind kind, EpCase batch) {
        this(kind, batch, same -> same, same -> same, same -> same);
    }

    ExplicitCalls config(UnaryOperator<EpGroupConfig> value) {
        return new ExplicitCalls(kind, batch, value, rows, options);
    }

    ExplicitCalls rows(UnaryOperator<BufferConfig> value) {
        return new ExplicitCalls(kind, batch, config, value, options);
    }

    ExplicitCalls options(UnaryOperator<LayerTensors> value) {
        return new ExplicitCalls(kind, batch, config, rows, value);
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
                LayerCalls calls = moe.own(options.apply(new LayerTensors(handle, quantised))).calls();
                RowFunction experts = ExpertFunction.scaling().onRows(quantised);
                MoeLayer layer = moe.own(new MoeLayer(handle, calls, quantised, experts, moe.stream()));
                moe.checkStep(layer, batch, tokens -> {
                    calls.rows(tokens);
                    calls.update(handle, moe.stream());
                    prepare.accept(layer, moe.stream());
                    calls.dispatch(handle, moe.stream());
                    layer.experts();
                    calls.combine(handle, moe.stream());
                });
            }
        });
    }
}
