package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RowsWritten;
import io.nccl4j.testing.ExpertFunction;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.LayerTensors;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.function.BiConsumer;
import java.util.function.UnaryOperator;

/**
 * A step of explicit calls on tensors of the caller, all rows compared.
 *
 * @param config changes the group
 * @param rows changes the quantisation
 * @param options changes the tensors
 * @param written which rows dispatch writes
 */
record ExplicitCalls(LayerKind kind, EpCase batch, UnaryOperator<EpGroupConfig> config,
        UnaryOperator<BufferConfig> rows, UnaryOperator<LayerTensors> options, RowsWritten written) {

    ExplicitCalls(LayerKind kind, EpCase batch, RowsWritten written) {
        this(kind, batch, same -> same, same -> same, same -> same, written);
    }

    ExplicitCalls config(UnaryOperator<EpGroupConfig> value) {
        return new ExplicitCalls(kind, batch, value, rows, options, written);
    }

    ExplicitCalls rows(UnaryOperator<BufferConfig> value) {
        return new ExplicitCalls(kind, batch, config, value, options, written);
    }

    ExplicitCalls options(UnaryOperator<LayerTensors> value) {
        return new ExplicitCalls(kind, batch, config, rows, value, written);
    }

    void run(EmulatedCluster cluster) {
        run(cluster, (layer, stream) -> {
        });
    }

    /** @param prepare comes between update and dispatch */
    void run(EmulatedCluster cluster, BiConsumer<MoeLayer, CudaStream> prepare) {
        MoeRank.run(cluster, kind, batch, config, moe -> {
            EpHandle handle = moe.own(moe.group().createHandle());
            BufferConfig quantised = rows.apply(moe.rows());
            LayerCalls calls = moe.own(options.apply(new LayerTensors(handle, quantised))).calls();
            MoeLayer layer = moe.own(new MoeLayer(handle, calls, quantised, ExpertFunction.scaling()));
            layer.spoil(moe.stream());
            layer.load(batch, moe.stream());
            moe.await();
            // Peers write into windows.
            moe.bootstrap().barrier();
            calls.rows(layer.count(batch));
            calls.update(handle, moe.stream());
            prepare.accept(layer, moe.stream());
            calls.dispatch(handle, moe.stream());
            layer.experts(moe.stream());
            calls.combine(handle, moe.stream());
            moe.await();
            layer.verify(batch, written, MoeLayer.UNTOUCHED);
            moe.bootstrap().barrier();
        });
    }
}
