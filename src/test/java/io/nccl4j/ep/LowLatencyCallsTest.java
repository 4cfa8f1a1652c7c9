package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.BlockScaledFp8;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.CaseSpace;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.LowLatencyExpertMajor;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.oracle.Rows;
import io.nccl4j.oracle.RowsWritten;
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

    @ParameterizedTest
    @EnumSource(value = DispatchRecipe.class, names = {"QUANT_FWD", "DS_FP8E3M4"})
    void recipesCarryScales(DispatchRecipe recipe, EmulatedCluster cluster) {
        CaseSeeds seeds = CaseSeeds.fresh();
        System.out.println("LowLatencyCallsTest " + recipe + " seed " + seeds);
        EpCase first = EpCase.draw(CaseSpace.lowLatency(4).withRanks(4).withFormat(NumberFormat.BFLOAT16)
                .withHidden(512, 1024).withRoutings(RoutingKind.UNIFORM, RoutingKind.HOLES), seeds.seed());
        boolean round = recipe == DispatchRecipe.DS_FP8E3M4;
        GlobalInputs quantised = BlockScaledFp8.quantise(first.inputs(), round);
        int width = first.hidden() / 128;
        DispatchConfig config = DispatchConfig.defaults().recipe(recipe).roundScales(round);
        cluster.run(rank -> {
            try (LayerOnRank layer = layer(rank, first, EXPERTS); RuleBench bench = new RuleBench(rank)) {
                int tokens = layer.load(first);
                EpBuffers buffers = layer.buffers;
                long[] zones = layer.handle.shape().receivedRows();
                EpTensor received = bench.tensor(DataType.FLOAT8_E4M3, zones[0], zones[1], first.hidden());
                EpTensor scales = bench.tensor(DataType.FLOAT32, zones[0], zones[1], width);
                DispatchInputs inputs;
                if (recipe == DispatchRecipe.QUANT_FWD) {
                    EpTensor rows = bench.tensor(DataType.FLOAT8_E4M3, first.shape().maxTokens(), first.hidden());
                    EpTensor rowScales = bench.tensor(DataType.FLOAT32, first.shape().maxTokens(), width);
                    writeRows(rows, quantised.tokens()[rank.rank()]);
                    writeRows(rowScales, quantised.scales()[rank.rank()]);
                    inputs = DispatchInputs.of(rows.rows(tokens), null, rowScales.rows(tokens));
                } else {
                    inputs = DispatchInputs.of(buffers.tokens().twin().rows(tokens));
                }
                layer.handle.update(buffers.routing().twin().rows(tokens), layer.stream);
                layer.handle.dispatch(inputs, DispatchOutputs.of(received, null, null, scales), buffers.dispatchInfo(),
                        config, layer.stream);
                layer.stream.await(LayerOnRank.LIMIT);
                LowLatencyExpertMajor.dispatch(quantised, rank.rank()).verify(
                        new Rows(LayerOnRank.read(received).array(), first.hidden()),
                        new Rows(LayerOnRank.read(scales).array(), width * Float.BYTES),
                        layer.ints(buffers.expertCounts()), null);
                rank.bootstrap().barrier();
            }
        });
    }

    private static void writeRows(EpTensor tensor, byte[][] rows) {
        ByteBuffer data = LayerOnRank.bytes(tensor);
        for (byte[] row : rows) {
            data.put(row);
        }
        LayerOnRank.write(tensor, data.array());
    }

    @Test
    void zeroCopyWritesIntoTheWindow(EmulatedCluster cluster) {
        LayerResultsTest.Kind kind = LayerResultsTest.Kind.LL_RANK_MAJOR;
        EpCase first = draw(kind);
        cluster.run(rank -> {
            try (RuleBench bench = new RuleBench(rank)) {
                EpGroup group = bench.own(EpGroup.create(bench.communicator,
                        LayerOnRank.config(first, kind.algorithm, kind.layout, more -> more.zeroCopy(ZeroCopy.ON))));
                EpHandle handle = bench.own(group.createHandle());
                long[] zones = handle.shape().receivedRows();
                DataType type = LayerOnRank.type(first.format());
                int topK = first.shape().topK();
                EpTensor routing = bench.routing(DataType.INT64, first.shape().maxTokens(), topK);
                EpTensor tokens = bench.tensor(type, first.shape().maxTokens(), first.hidden());
                EpTensor weights = bench.tensor(DataType.FLOAT32, first.shape().maxTokens(), topK);
                EpTensor received = bench.windowed(type, zones[0], zones[1], first.hidden());
                DispatchOutputs outputs = DispatchOutputs.of(received,
                        bench.tensor(DataType.FLOAT32, zones[0], zones[1], topK),
                        bench.tensor(DataType.INT32, zones[0], zones[1], topK));
                tokens.memory().fillAsync((byte) (rank.rank() + 1), bench.stream);
                handle.update(routing, bench.stream);
                handle.dispatch(DispatchInputs.of(tokens, weights), outputs, null, bench.stream);
                bench.stream.await(LayerOnRank.LIMIT);
                // Every token goes to the first experts, all of rank 0 or of it and its neighbours.
                byte[] data = LayerOnRank.read(received).array();
                if (rank.rank() == 0) {
                    int region = data.length / 4;
                    for (int source = 0; source < 4; source++) {
                        assertThat(data[source * region]).isEqualTo((byte) (source + 1));
                        assertThat(data[(source + 1) * region - 1]).isEqualTo((byte) (source + 1));
                    }
                }
                rank.bootstrap().barrier();
            }
        });
    }
}
