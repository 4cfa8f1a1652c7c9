package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.CaseSpace;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.HostMirror;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
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
    private static final CaseSpace SPACE = CaseSpace.highThroughput(4).withRanks(4).withPowersOfTwo()
            .withRoutings(RoutingKind.UNIFORM, RoutingKind.SKEWED, RoutingKind.CONCENTRATED, RoutingKind.HOLES);

    private static EpCase draw(String what, CaseSpace space) {
        CaseSeeds seeds = CaseSeeds.fresh("HighThroughputCallsTest " + what);
        return EpCase.draw(space, seeds.seed());
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
            MoeRank.run(cluster, LayerKind.HT_EXPERT_MAJOR, first, more -> {
                EpGroupConfig padded = more.alignment(8).overflow(policy);
                int least = (first.shape().maxTokens() + 7) / 8 * 8;
                return policy == OverflowPolicy.DROP && !mode.duplicates() ? padded.maxReceiveRows(least) : padded;
            }, (moe, layer) -> {
                layer.rows().mode(io.nccl4j.oracle.ExpertMajorMode.valueOf(mode.name()));
                assertThat(layer.handle().alignment()).isEqualTo(8);
                assertThat(layer.handle().shape().mode()).isEqualTo(mode);
                for (int step = 0; step < 3; step++) {
                    moe.checkStep(layer, step == 0 ? first : first.redraw(RoutingKind.SKEWED, first.seed() + step));
                }
            });
        }
    }

    @Test
    void droppedTokensCombineToZeros(EmulatedCluster cluster) {
        EpCase first = draw("FLAT with drops", SPACE);
        MoeRank.run(cluster, LayerKind.HT_FLAT, first,
                more -> more.maxReceiveRows(first.shape().maxTokens()).overflow(OverflowPolicy.DROP),
                (moe, layer) -> moe.checkStep(layer, first));
    }

    private static ExplicitCalls explicit(Layout layout, EpCase batch) {
        return new ExplicitCalls(LayerKind.of(Algorithm.HIGH_THROUGHPUT, layout), batch);
    }

    @ParameterizedTest
    @EnumSource(value = Layout.class, names = {"FLAT", "EXPERT_MAJOR"})
    void backward(Layout layout, EmulatedCluster cluster) {
        EpCase batch = draw("backward " + layout, SPACE);
        explicit(layout, batch)
                .backward((expert, source) -> expert * 1000 + source.rank() * 100 + source.token() * 0.5f)
                .run(cluster, (layer, stream) -> {
                    try (MoeLayer forward = new MoeLayer(layer.handle(),
                            BufferConfig.of(batch.hidden(), LayerKind.type(batch.format())), stream)) {
                        forward.runAndVerify(batch);
                    }
                });
    }

    @Test
    void eagerOutputsAreSizedFromTheCounts(EmulatedCluster cluster) {
        EpCase batch = draw("eager", SPACE);
        explicit(Layout.FLAT, batch).config(EpGroupConfig::eager).globalIds().run(cluster, (layer, stream) -> {
            assertThatThrownBy(() -> layer.handle().allocateBuffers(BufferConfig.of(batch.hidden(), DataType.BFLOAT16)))
                    .hasMessageContaining("sizes its outputs from counts");
            stream.await(MoeRank.LIMIT);
            HostMirror total = layer.mirror(layer.calls().counters().receivedTotal());
            layer.calls().receivedRows(total.fetch().integer(0));
        });
    }

    @Test
    void stagedOutputsHoldTheRowsInUse(EmulatedCluster cluster) {
        explicit(Layout.FLAT, draw("staged", SPACE)).run(cluster);
    }

    @Test
    void forwardedScalesTravelWithTheirRows(EmulatedCluster cluster) {
        explicit(Layout.FLAT, draw("QUANT_FWD", SPACE.withFormat(NumberFormat.BFLOAT16).withHidden(512)))
                .rows(rows -> rows.forwarding(DataType.FLOAT8_E4M3, 512, DataType.FLOAT32, 4)).run(cluster);
    }
}
