package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.CaseSpace;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.oracle.RowsWritten;
import io.nccl4j.testing.ExpertFunction;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.nio.ByteBuffer;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The explicit calls of low latency: halves, recipes, other routing tensors. */
@EmulatedRanks(4)
class LowLatencyCallsTest {
    private static final LayerResultsTest.Kind EXPERTS = LayerResultsTest.Kind.LL_EXPERT_MAJOR;

    private static EpCase draw(LayerResultsTest.Kind kind) {
        CaseSeeds seeds = CaseSeeds.fresh();
        System.out.println("LowLatencyCallsTest " + kind + " seed " + seeds);
        return kind.draw(seeds.seed(), 4);
    }

    private static LayerOnRank layer(io.nccl4j.emulator.EmulatedRank rank, EpCase c, LayerResultsTest.Kind kind) {
        return LayerOnRank.of(rank, c, kind.algorithm, kind.layout, UnaryOperator.identity());
    }

    /** A step in halves. */
    private static void stagedStep(LayerOnRank layer, long tokens) {
        EpBuffers buffers = layer.buffers;
        buffers.prepare(layer.handle, tokens);
        layer.handle.update(buffers.callRouting(), layer.stream);
        layer.handle.dispatch(buffers.dispatchInputs(), buffers.dispatchOutputs(), buffers.dispatchInfo(),
                DispatchConfig.defaults().sendOnly(), layer.stream);
        layer.handle.complete();
        layer.enqueueExperts();
        layer.handle.combine(buffers.combineInputs(), buffers.combineOutputs(), CombineConfig.defaults().sendOnly(),
                layer.stream);
        layer.handle.complete();
    }

    @ParameterizedTest
    @EnumSource(value = LayerResultsTest.Kind.class, names = {"LL_EXPERT_MAJOR", "LL_RANK_MAJOR"})
    void halvesMakeAWhole(LayerResultsTest.Kind kind, EmulatedCluster cluster) {
        EpCase first = draw(kind);
        cluster.run(rank -> {
            try (LayerOnRank layer = layer(rank, first, kind)) {
                stagedStep(layer, layer.load(first));
                layer.stream.await(LayerOnRank.LIMIT);
                layer.verify(first, RowsWritten.WINDOW);
                rank.bootstrap().barrier();
                try (CudaGraph graph = layer.stream.capture(() -> stagedStep(layer, layer.buffers.maxTokens()));
                        CudaGraphExec exec = graph.instantiate()) {
                    for (int step = 1; step < 10; step++) {
                        EpCase now = kind.redraw(first, step);
                        layer.load(now);
                        exec.launch(layer.stream);
                        layer.stream.await(LayerOnRank.LIMIT);
                        layer.verify(now, RowsWritten.WINDOW);
                        rank.bootstrap().barrier();
                    }
                }
            }
        });
    }

    @Test
    void completeDoesNothingWithoutAFirstHalf(EmulatedCluster cluster) {
        EpCase first = draw(EXPERTS);
        cluster.run(rank -> {
            try (LayerOnRank layer = layer(rank, first, EXPERTS)) {
                layer.handle.complete();
                layer.enqueueStep(layer.load(first));
                layer.handle.complete();
                layer.stream.await(LayerOnRank.LIMIT);
                layer.verify(first, RowsWritten.WINDOW);
                rank.bootstrap().barrier();
            }
        });
    }

    @Test
    void aPendingHalfKeepsItsHandleOpen(EmulatedCluster cluster) {
        EpCase first = draw(EXPERTS);
        cluster.run(rank -> {
            try (LayerOnRank layer = layer(rank, first, EXPERTS)) {
                EpBuffers buffers = layer.buffers;
                buffers.prepare(layer.handle, layer.load(first));
                layer.handle.update(buffers.callRouting(), layer.stream);
                layer.handle.dispatch(buffers.dispatchInputs(), buffers.dispatchOutputs(), buffers.dispatchInfo(),
                        DispatchConfig.defaults().sendOnly(), layer.stream);
                EpHandle other = layer.group.createHandle();
                other.update(buffers.callRouting(), layer.stream);
                assertThatThrownBy(() -> other.dispatch(buffers.dispatchInputs(), buffers.dispatchOutputs(),
                        buffers.dispatchInfo(), layer.stream)).isInstanceOf(IllegalStateException.class)
                        .hasMessageContaining("send half is pending");
                other.complete();
                other.close();
                assertThatThrownBy(() -> layer.stream.capture(layer.handle::complete))
                        .isInstanceOf(IllegalStateException.class).hasMessageContaining("outside of");
                layer.handle.complete();
                layer.handle.combine(buffers.combineInputs(), buffers.combineOutputs(), layer.stream);
                layer.stream.await(LayerOnRank.LIMIT);
                rank.bootstrap().barrier();
            }
        });
    }

    @Test
    void aFailedCaptureLeavesNoHalfPending(EmulatedCluster cluster) {
        EpCase first = draw(EXPERTS);
        cluster.run(rank -> {
            try (LayerOnRank layer = layer(rank, first, EXPERTS)) {
                EpBuffers buffers = layer.buffers;
                buffers.prepare(layer.handle, layer.load(first));
                layer.handle.update(buffers.callRouting(), layer.stream);
                assertThatThrownBy(() -> layer.stream
                        .capture(() -> layer.handle.dispatch(buffers.dispatchInputs(), buffers.dispatchOutputs(),
                                buffers.dispatchInfo(), DispatchConfig.defaults().sendOnly(), layer.stream)))
                        .isInstanceOf(IllegalStateException.class)
                        .hasMessageContaining("complete it in the same capture");
                assertThat(layer.stream.isCapturing()).isFalse();
                layer.enqueueStep(layer.load(first));
                layer.stream.await(LayerOnRank.LIMIT);
                layer.verify(first, RowsWritten.WINDOW);
                rank.bootstrap().barrier();
            }
        });
    }

    @Test
    void routingMayBeInt32AndComeWithTheHandle(EmulatedCluster cluster) {
        EpCase first = draw(EXPERTS);
        cluster.run(rank -> {
            try (LayerOnRank layer = layer(rank, first, EXPERTS);
                    DeviceMemory memory = DeviceMemory.allocate(rank.device(),
                            4L * first.shape().maxTokens() * first.shape().topK())) {
                int tokens = layer.load(first);
                EpTensor routing = EpTensor.of(memory, DataType.INT32, first.shape().maxTokens(), first.shape().topK());
                ByteBuffer host = LayerOnRank.bytes(routing);
                for (int[] row : first.inputs().routing().of(rank.rank())) {
                    for (int expert : row) {
                        host.putInt(expert);
                    }
                }
                LayerOnRank.write(routing, host.array());
                EpBuffers buffers = layer.buffers;
                buffers.prepare(layer.handle, tokens);
                layer.handle.update(routing.rows(tokens), layer.stream);
                layer.handle.dispatch(buffers.dispatchInputs(), buffers.dispatchOutputs(), buffers.dispatchInfo(),
                        layer.stream);
                layer.enqueueExperts();
                layer.handle.combine(buffers.combineInputs(), buffers.combineOutputs(), layer.stream);
                layer.stream.await(LayerOnRank.LIMIT);
                layer.verify(first, RowsWritten.WINDOW);
                try (EpHandle made = layer.group.createHandle(Layout.EXPERT_MAJOR, routing, null,
                        HandleConfig.defaults(), layer.stream)) {
                    assertThat(made.tokens()).isEqualTo(tokens);
                    made.dispatch(buffers.dispatchInputs(), buffers.dispatchOutputs(), buffers.dispatchInfo(),
                            layer.stream);
                    layer.enqueueExperts();
                    made.combine(buffers.combineInputs(), buffers.combineOutputs(), layer.stream);
                    layer.stream.await(LayerOnRank.LIMIT);
                    layer.verify(first, RowsWritten.WINDOW);
                }
                rank.bootstrap().barrier();
            }
        });
    }

    /** A step of explicit calls on tensors of the caller. */
    private static void explicit(EmulatedCluster cluster, LayerKind kind, EpCase batch,
            UnaryOperator<EpGroupConfig.Builder> config, UnaryOperator<BufferConfig> rows, boolean windows) {
        cluster.run(rank -> {
            try (MoeRank moe = MoeRank.of(rank, kind, batch, config)) {
                EpHandle handle = moe.own(moe.group().createHandle());
                BufferConfig with = rows.apply(moe.rows());
                LayerCalls calls = moe
                        .own(new io.nccl4j.testing.LayerTensors(handle, with).windows(windows).roundScales(true))
                        .calls();
                MoeLayer layer = moe.own(new MoeLayer(handle, calls, with, ExpertFunction.scaling()));
                layer.spoil(moe.stream());
                layer.load(batch, moe.stream());
                moe.await();
                // Peers write into windows.
                rank.bootstrap().barrier();
                calls.rows(layer.count(batch));
                calls.update(handle, moe.stream());
                calls.dispatch(handle, moe.stream());
                layer.experts(moe.stream());
                calls.combine(handle, moe.stream());
                moe.await();
                layer.verify(batch, RowsWritten.WINDOW, MoeLayer.UNTOUCHED);
                rank.bootstrap().barrier();
            }
        });
    }

    @ParameterizedTest
    @EnumSource(value = DispatchRecipe.class, names = {"QUANT_FWD", "DS_FP8E3M4"})
    void recipesCarryScales(DispatchRecipe recipe, EmulatedCluster cluster) {
        CaseSeeds seeds = CaseSeeds.fresh();
        System.out.println("LowLatencyCallsTest " + recipe + " seed " + seeds);
        EpCase batch = EpCase.draw(CaseSpace.lowLatency(4).withRanks(4).withFormat(NumberFormat.BFLOAT16)
                .withHidden(512, 1024).withRoutings(RoutingKind.UNIFORM, RoutingKind.HOLES), seeds.seed());
        int hidden = batch.hidden();
        explicit(cluster, LayerKind.LL_EXPERT_MAJOR, batch, config -> config,
                rows -> recipe == DispatchRecipe.QUANT_FWD
                        ? rows.forwarding(DataType.FLOAT8_E4M3, hidden, DataType.FLOAT32, hidden / 128)
                        : rows.blockScaledFp8(true),
                false);
    }

    @Test
    void zeroCopyWritesIntoTheWindow(EmulatedCluster cluster) {
        explicit(cluster, LayerKind.LL_RANK_MAJOR, draw(LayerResultsTest.Kind.LL_RANK_MAJOR),
                more -> more.zeroCopy(ZeroCopy.ON), rows -> rows, true);
    }
}
