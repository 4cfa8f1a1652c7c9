package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.BlockScaledFp8;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.CaseSpace;
import io.nccl4j.oracle.CombinedRows;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.ExpertMajorSlots;
import io.nccl4j.oracle.FlatSlots;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.HighThroughputExpertMajor;
import io.nccl4j.oracle.HighThroughputFlat;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.ReceiveBudget;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.oracle.Rows;
import io.nccl4j.oracle.RowsWritten;
import io.nccl4j.oracle.Source;
import io.nccl4j.testing.ExpertFunction;
import java.nio.ByteBuffer;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The explicit calls of high throughput: staged outputs, eager mode, budgets, modes, the backward pass, forwarded
 * scales.
 */
@EmulatedRanks(4)
class HighThroughputCallsTest {
    private static final ExpertFunction EXPERTS = ExpertFunction.scaling();
    private static final CaseSpace SPACE = CaseSpace.highThroughput(4).withRanks(4).withPowersOfTwo()
            .withRoutings(RoutingKind.UNIFORM, RoutingKind.SKEWED, RoutingKind.CONCENTRATED, RoutingKind.HOLES);

    private static EpCase draw(String what, CaseSpace space) {
        CaseSeeds seeds = CaseSeeds.fresh();
        System.out.println("HighThroughputCallsTest " + what + " seed " + seeds);
        return EpCase.draw(space, seeds.seed());
    }

    private static LayerOnRank layer(EmulatedRank rank, EpCase c, Layout layout,
            UnaryOperator<EpGroupConfig.Builder> more) {
        return LayerOnRank.of(rank, c, Algorithm.HIGH_THROUGHPUT, layout, more);
    }

    @AfterEach
    void restore() {
        ExpertMajorMode.environment = System::getenv;
    }

    @ParameterizedTest
    @EnumSource(ExpertMajorMode.class)
    void everyModeOfExpertMajorWithPaddingAndDrops(ExpertMajorMode mode, EmulatedCluster cluster) {
        EpCase first = draw(mode.toString(), SPACE);
        String variable = mode == ExpertMajorMode.LOCAL_DUP ? "NCCL_EP_HT_EM_LOCAL_DUP" : "NCCL_EP_HT_EM_NVLINK_DUP";
        if (mode.duplicates()) {
            Emulator.environment(variable, "1");
            ExpertMajorMode.environment = name -> name.equals(variable) ? "1" : null;
        }
        for (OverflowPolicy policy : new OverflowPolicy[]{OverflowPolicy.AUTO, OverflowPolicy.DROP}) {
            cluster.run(rank -> {
                try (LayerOnRank layer = layer(rank, first, Layout.EXPERT_MAJOR, more -> {
                    EpGroupConfig.Builder padded = more.alignment(8).overflow(policy);
                    int least = (first.shape().maxTokens() + 7) / 8 * 8;
                    return policy == OverflowPolicy.DROP && !mode.duplicates() ? padded.maxReceiveRows(least) : padded;
                })) {
                    assertThat(layer.handle.alignment()).isEqualTo(8);
                    assertThat(layer.handle.shape().mode()).isEqualTo(mode);
                    for (int step = 0; step < 3; step++) {
                        EpCase now = step == 0 ? first : first.redraw(RoutingKind.SKEWED, first.seed() + step);
                        layer.enqueueStep(layer.load(now));
                        layer.stream.await(LayerOnRank.LIMIT);
                        layer.verify(now, RowsWritten.WINDOW);
                        rank.bootstrap().barrier();
                    }
                }
            });
        }
    }

    @Test
    void droppedTokensCombineToZeros(EmulatedCluster cluster) {
        EpCase first = draw("FLAT with drops", SPACE);
        cluster.run(rank -> {
            try (LayerOnRank layer = layer(rank, first, Layout.FLAT,
                    more -> more.maxReceiveRows(first.shape().maxTokens()).overflow(OverflowPolicy.DROP))) {
                layer.enqueueStep(layer.load(first));
                layer.stream.await(LayerOnRank.LIMIT);
                layer.verify(first, RowsWritten.WINDOW);
                rank.bootstrap().barrier();
            }
        });
    }

    @ParameterizedTest
    @EnumSource(value = Layout.class, names = {"FLAT", "EXPERT_MAJOR"})
    void backward(Layout layout, EmulatedCluster cluster) {
        EpCase first = draw("backward " + layout, SPACE);
        cluster.run(rank -> {
            try (LayerOnRank layer = layer(rank, first, layout, UnaryOperator.identity());
                    RuleBench bench = new RuleBench(rank)) {
                EpBuffers buffers = layer.buffers;
                int tokens = layer.load(first);
                int topK = first.shape().topK();
                layer.enqueueStep(tokens);
                long rows = layer.group.sizing().receiveRows();
                EpTensor gradients = layout == Layout.FLAT
                        ? bench.tensor(DataType.FLOAT32, rows, topK)
                        : bench.tensor(DataType.FLOAT32, rows);
                EpTensor weightGradients = bench.tensor(DataType.FLOAT32, first.shape().maxTokens(), topK);
                layer.stream.await(LayerOnRank.LIMIT);
                LayerOnRank.write(gradients, gradients(first, layer, layout).array());
                DispatchConfig dispatch = DispatchConfig.defaults().direction(PassDirection.BACKWARD);
                layer.handle.dispatch(DispatchInputs.of(buffers.tokens().twin().rows(tokens)),
                        DispatchOutputs.of(buffers.received()), null, dispatch, layer.stream);
                layer.enqueueExperts();
                layer.handle.combine(CombineInputs.of(buffers.expertOutputs(), gradients),
                        CombineOutputs.of(buffers.combined().twin().rows(tokens), weightGradients.rows(tokens)),
                        CombineConfig.defaults().direction(PassDirection.BACKWARD), layer.stream);
                layer.stream.await(LayerOnRank.LIMIT);
                layer.verify(first, RowsWritten.WINDOW);
                float[] actual = layer.floats(weightGradients);
                float[][] expected = expectedGradients(first, layer, layout);
                for (int t = 0; t < tokens; t++) {
                    for (int k = 0; k < topK; k++) {
                        assertThat(actual[t * topK + k]).as("token %d, k %d of %s", t, k, first)
                                .isEqualTo(expected[t][k]);
                    }
                }
                rank.bootstrap().barrier();
            }
        });
    }

    private static float gradient(int expert, Source source) {
        return expert * 1000 + source.rank() * 100 + source.token() * 0.5f;
    }

    private static ExpertMajorSlots slots(EpCase c, LayerOnRank layer) {
        return new ExpertMajorSlots(c.inputs().routing(), layer.budget(),
                io.nccl4j.oracle.ExpertMajorMode.LOCAL_PERMUTE, 1);
    }

    /** Gradients in the places of the received weights. */
    private static ByteBuffer gradients(EpCase c, LayerOnRank layer, Layout layout) {
        int rank = layer.rank.rank();
        int topK = c.shape().topK();
        ByteBuffer data = LayerOnRank.bytes(layer.buffers.receivedWeights());
        if (layout == Layout.FLAT) {
            var sources = HighThroughputFlat
                    .dispatch(c.inputs(), new FlatSlots(c.inputs().routing(), layer.budget()), rank).sources();
            for (int row = 0; row < sources.size(); row++) {
                int[] local = c.inputs().routing().localExperts(sources.get(row), rank);
                for (int i = 0; i < local.length; i++) {
                    data.putFloat((row * topK + i) * 4,
                            gradient(rank * c.shape().localExperts() + local[i], sources.get(row)));
                }
            }
        } else {
            ExpertMajorSlots slots = slots(c, layer);
            for (Source source : c.inputs().routing().sources()) {
                for (int local : c.inputs().routing().localExperts(source, rank)) {
                    int expert = rank * c.shape().localExperts() + local;
                    data.putFloat(slots.slot(source, expert) * 4, gradient(expert, source));
                }
            }
        }
        return data;
    }

    private static float[][] expectedGradients(EpCase c, LayerOnRank layer, Layout layout) {
        int rank = layer.rank.rank();
        return layout == Layout.FLAT
                ? HighThroughputFlat.combineWeights(new FlatSlots(c.inputs().routing(), layer.budget()), rank,
                        HighThroughputCallsTest::gradient)
                : HighThroughputExpertMajor.combineWeights(slots(c, layer), rank, HighThroughputCallsTest::gradient);
    }

    @Test
    void eagerOutputsAreSizedFromTheCounts(EmulatedCluster cluster) {
        EpCase first = draw("eager", SPACE);
        cluster.run(rank -> {
            try (RuleBench bench = new RuleBench(rank)) {
                EpGroup group = bench.own(EpGroup.create(bench.communicator, LayerOnRank.config(first,
                        Algorithm.HIGH_THROUGHPUT, Layout.FLAT, EpGroupConfig.Builder::eager)));
                EpHandle handle = bench.own(group.createHandle());
                assertThatThrownBy(() -> handle.allocateBuffers(BufferConfig.of(first.hidden(), DataType.BFLOAT16)))
                        .hasMessageContaining("sizes its outputs from counts");
                Explicit explicit = new Explicit(bench, group, first, (int) group.sizing().receiveRows());
                int tokens = explicit.load();
                handle.update(explicit.routing.rows(tokens), explicit.updateInfo, bench.stream);
                bench.stream.await(LayerOnRank.LIMIT);
                int count = explicit.total();
                explicit.receivedRows(count);
                handle.dispatch(explicit.inputs, explicit.outputs, explicit.globalIds, bench.stream);
                bench.stream.await(LayerOnRank.LIMIT);
                explicit.verifyDispatch(ReceiveBudget.eager(), RowsWritten.COUNT, true);
                handle.combine(explicit.combineInputs, explicit.combineOutputs, bench.stream);
                bench.stream.await(LayerOnRank.LIMIT);
                explicit.verifyCombine(ReceiveBudget.eager());
                rank.bootstrap().barrier();
            }
        });
    }

    @Test
    void stagedOutputsHoldTheRowsInUse(EmulatedCluster cluster) {
        EpCase first = draw("staged", SPACE);
        cluster.run(rank -> {
            try (RuleBench bench = new RuleBench(rank)) {
                EpGroup group = bench.own(EpGroup.create(bench.communicator,
                        LayerOnRank.config(first, Algorithm.HIGH_THROUGHPUT, Layout.FLAT, UnaryOperator.identity())));
                EpHandle handle = bench.own(group.createHandle());
                int rows = (int) group.sizing().receiveRows();
                Explicit explicit = new Explicit(bench, group, first, rows);
                int tokens = explicit.load();
                handle.update(explicit.routing.rows(tokens), explicit.updateInfo, bench.stream);
                handle.dispatch(explicit.inputs, explicit.outputs, null, bench.stream);
                bench.stream.await(LayerOnRank.LIMIT);
                explicit.verifyDispatch(ReceiveBudget.trapping(rows), RowsWritten.COUNT, false);
                handle.combine(explicit.combineInputs, explicit.combineOutputs, bench.stream);
                bench.stream.await(LayerOnRank.LIMIT);
                explicit.verifyCombine(ReceiveBudget.trapping(rows));
                rank.bootstrap().barrier();
            }
        });
    }

    @Test
    void forwardedScalesTravelWithTheirRows(EmulatedCluster cluster) {
        EpCase first = draw("QUANT_FWD", SPACE.withFormat(NumberFormat.BFLOAT16).withHidden(512));
        GlobalInputs quantised = BlockScaledFp8.quantise(first.inputs(), false);
        cluster.run(rank -> {
            try (RuleBench bench = new RuleBench(rank)) {
                EpGroup group = bench.own(EpGroup.create(bench.communicator,
                        LayerOnRank.config(first, Algorithm.HIGH_THROUGHPUT, Layout.FLAT, UnaryOperator.identity())));
                EpHandle handle = bench.own(group.createHandle());
                int rows = (int) group.sizing().receiveRows();
                Explicit explicit = new Explicit(bench, group, first, rows);
                int tokens = explicit.load();
                EpTensor bytes = bench.tensor(DataType.FLOAT8_E4M3, first.shape().maxTokens(), 512);
                EpTensor scales = bench.tensor(DataType.FLOAT32, first.shape().maxTokens(), 4);
                Explicit.writeRows(bytes, quantised.tokens()[rank.rank()]);
                Explicit.writeRows(scales, quantised.scales()[rank.rank()]);
                EpTensor received = bench.tensor(DataType.FLOAT8_E4M3, rows, 512);
                EpTensor receivedScales = bench.tensor(DataType.FLOAT32, rows, 4);
                handle.update(explicit.routing.rows(tokens), explicit.updateInfo, bench.stream);
                handle.dispatch(
                        DispatchInputs.of(bytes.rows(tokens), explicit.weights.rows(tokens), scales.rows(tokens)),
                        DispatchOutputs.of(received, explicit.outputs.weights(), explicit.outputs.indices(),
                                receivedScales),
                        null, DispatchConfig.defaults().recipe(DispatchRecipe.QUANT_FWD), bench.stream);
                bench.stream.await(LayerOnRank.LIMIT);
                FlatSlots slots = new FlatSlots(first.inputs().routing(), ReceiveBudget.trapping(rows));
                HighThroughputFlat.dispatch(quantised, slots, rank.rank())
                        .verify(new HighThroughputFlat.Outputs(new Rows(LayerOnRank.read(received).array(), 512),
                                new Rows(LayerOnRank.read(receivedScales).array(), 16), explicit.indices(),
                                explicit.weights()), false, RowsWritten.COUNT, null);
                rank.bootstrap().barrier();
            }
        });
    }

    /** Tensors of the caller's own for FLAT. */
    private static final class Explicit {
        final RuleBench bench;
        final EpCase c;
        final int rowBytes;
        final EpTensor routing;
        final EpTensor weights;
        final LayoutInfo updateInfo;
        final LayoutInfo globalIds = LayoutInfo.builder().expertIds(ExpertIds.GLOBAL).build();
        final DispatchInputs inputs;
        final DispatchOutputs outputs;
        final CombineInputs combineInputs;
        final CombineOutputs combineOutputs;

        Explicit(RuleBench bench, EpGroup group, EpCase c, int rows) {
            DataType type = LayerOnRank.type(c.format());
            int tokens = c.shape().maxTokens();
            int topK = c.shape().topK();
            this.bench = bench;
            this.c = c;
            this.rowBytes = c.hidden() * c.format().bytes();
            this.routing = bench.tensor(DataType.INT64, tokens, topK);
            this.weights = bench.tensor(DataType.FLOAT32, tokens, topK);
            this.updateInfo = LayoutInfo.builder()
                    .expertCounters(bench.tensor(DataType.INT32, group.sizing().localExperts()))
                    .receivedTotal(bench.tensor(DataType.INT64, 1)).build();
            this.inputs = DispatchInputs.of(bench.tensor(type, tokens, c.hidden()), weights);
            this.outputs = DispatchOutputs.of(bench.tensor(type, rows, c.hidden()),
                    bench.tensor(DataType.FLOAT32, rows, topK), bench.tensor(DataType.INT64, rows, topK));
            this.combineInputs = CombineInputs.of(bench.tensor(type, rows, c.hidden()));
            this.combineOutputs = CombineOutputs.of(bench.tensor(type, tokens, c.hidden()));
        }

        int load() {
            int rank = bench.rank.rank();
            byte[][] tokens = c.inputs().tokens()[rank];
            writeRows(inputs.tokens(), tokens);
            ByteBuffer ids = LayerOnRank.bytes(routing);
            ByteBuffer values = LayerOnRank.bytes(weights);
            for (int t = 0; t < tokens.length; t++) {
                for (int k = 0; k < c.shape().topK(); k++) {
                    ids.putLong(c.inputs().routing().of(rank)[t][k]);
                    values.putFloat(c.inputs().weights()[rank][t][k]);
                }
            }
            LayerOnRank.write(routing, ids.array());
            LayerOnRank.write(weights, values.array());
            for (EpTensor tensor : outputs.tensors()) {
                tensor.memory().fillAsync((byte) 0x5a, bench.stream);
            }
            bench.stream.await(LayerOnRank.LIMIT);
            inputs.tokens().rows(tokens.length);
            weights.rows(tokens.length);
            combineOutputs.tokens().rows(tokens.length);
            return tokens.length;
        }

        static void writeRows(EpTensor tensor, byte[][] rows) {
            ByteBuffer data = LayerOnRank.bytes(tensor);
            for (byte[] row : rows) {
                data.put(row);
            }
            LayerOnRank.write(tensor, data.array());
        }

        int total() {
            return (int) LayerOnRank.read(updateInfo.receivedTotal()).getLong(0);
        }

        void receivedRows(int count) {
            for (EpTensor tensor : outputs.tensors()) {
                tensor.rows(count);
            }
            combineInputs.tokens().rows(count);
        }

        long[] indices() {
            ByteBuffer data = LayerOnRank.read(outputs.indices());
            long[] values = new long[data.capacity() / 8];
            data.asLongBuffer().get(values);
            return values;
        }

        float[] weights() {
            ByteBuffer data = LayerOnRank.read(outputs.weights());
            float[] values = new float[data.capacity() / 4];
            data.asFloatBuffer().get(values);
            return values;
        }

        void verifyDispatch(ReceiveBudget budget, RowsWritten written, boolean global) {
            FlatSlots slots = new FlatSlots(c.inputs().routing(), budget);
            HighThroughputFlat.Received received = HighThroughputFlat.dispatch(c.inputs(), slots, bench.rank.rank());
            received.verifyCounters(null, (long) total());
            Rows rows = new Rows(LayerOnRank.read(outputs.tokens()).array(), rowBytes);
            received.verify(new HighThroughputFlat.Outputs(rows, null, indices(), weights()), global, written,
                    (byte) 0x5a);
            byte[] data = rows.data().clone();
            for (int row = 0; row < received.sources().size(); row++) {
                byte[] made = EXPERTS.sum(new int[]{bench.rank.rank()}, new float[]{1}, rows.row(row), c.format());
                System.arraycopy(made, 0, data, row * rowBytes, rowBytes);
            }
            LayerOnRank.write(combineInputs.tokens(), data);
        }

        void verifyCombine(ReceiveBudget budget) {
            FlatSlots slots = new FlatSlots(c.inputs().routing(), budget);
            byte[][] expected = HighThroughputFlat.combine(slots, bench.rank.rank(), (from, source) -> EXPERTS
                    .sum(new int[]{from}, new float[]{1}, c.inputs().token(source), c.format()), c.format(),
                    c.hidden());
            CombinedRows.verify(expected, new Rows(LayerOnRank.read(combineOutputs.tokens()).array(), rowBytes));
        }
    }
}
