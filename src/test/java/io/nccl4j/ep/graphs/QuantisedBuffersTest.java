package io.nccl4j.ep.graphs;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.CombineConfig;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpSizing;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.CaseSpace;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Buffers of the quantisation recipes: the same promises as for plain ones. */
class QuantisedBuffersTest {
    private static final int RANKS = 3;

    private final CaseSeeds seeds = CaseSeeds.fresh();

    /** The recipe DS_FP8E3M4 and the quantised combine exist for low latency only. */
    static Stream<Arguments> combinations() {
        return Arrays.stream(LayerKind.values())
                .flatMap(kind -> Arrays.stream(Quantisation.values())
                        .filter(quantisation -> quantisation != Quantisation.PLAIN)
                        .filter(quantisation -> kind.isLowLatency() || quantisation == Quantisation.FORWARDED)
                        .map(quantisation -> Arguments.of(kind, quantisation)));
    }

    private EpCase draw(LayerKind kind, int ranks) {
        CaseSpace space = kind.space(ranks).withFormat(NumberFormat.BFLOAT16).withHidden(512, 1024);
        return seeds.draw(space);
    }

    @ParameterizedTest
    @MethodSource("combinations")
    @EmulatedRanks(value = RANKS, limitSeconds = 240)
    void everyReplayEqualsAnEagerRun(LayerKind kind, Quantisation quantisation, EmulatedCluster cluster) {
        Emulator.options().computeCapability(100);
        List<EpCase> batches = seeds.batches(draw(kind, RANKS), ReplayProof.REPLAYS, kind.routings());
        cluster.run(rank -> ReplayProof.run(rank, kind, quantisation, batches));
    }

    @ParameterizedTest
    @MethodSource("combinations")
    @EmulatedRanks(2)
    void sizesAreToldBeforehand(LayerKind kind, Quantisation quantisation, EmulatedCluster cluster) {
        Emulator.options().computeCapability(100);
        EpCase model = draw(kind, 2);
        BufferConfig config = quantisation.buffers(model);
        MoeRank.run(cluster, kind, model, (self, unused) -> {
            EpHandle handle = self.own(self.group().createHandle());
            EmulatorUsage before = Emulator.usage(self.device());
            try (EpBuffers buffers = handle.allocateBuffers(config)) {
                long taken = Emulator.usage(self.device()).deviceBytes() - before.deviceBytes();
                long told = EpSizing.of(self.group().config(), 2).buffersBytes(config);
                // Windows hold slices that begin at multiples of 256 bytes.
                assertThat(taken).isBetween(told, told + (kind.isLowLatency() ? 0 : 3 * 256));
                assertThat(buffers.config()).isSameAs(config);
            }
            assertThat(Emulator.usage(self.device()).leakedSince(before)).isEmpty();
        });
    }

    @Test
    @EmulatedRanks(1)
    void recipesAndBuffersMustFit(EmulatedCluster cluster) {
        LayerKind kind = LayerKind.LL_EXPERT_MAJOR;
        EpCase model = draw(kind, 1);
        BufferConfig plain = Quantisation.PLAIN.buffers(model);
        cluster.run(rank -> {
            try (MoeRank self = MoeRank.of(rank, kind, model);
                    EpHandle handle = self.group().createHandle();
                    EpBuffers scaled = handle.allocateBuffers(plain.blockScaledFp8(true));
                    EpBuffers unscaled = handle.allocateBuffers(plain)) {
                assertThat(scaled.dispatchConfig())
                        .isSameAs(DispatchConfig.defaults().recipe(DispatchRecipe.DS_FP8E3M4).roundScales(true));
                assertThat(scaled.combineConfig()).isSameAs(CombineConfig.defaults());
                assertIllegalArgument(
                        () -> handle.dispatchAsync(scaled, 1, DispatchConfig.defaults().sendOnly(), self.stream()),
                        "recipe NONE", "DS_FP8E3M4", "dispatchConfig()");
                assertIllegalArgument(() -> handle.dispatchAsync(unscaled, 1, scaled.dispatchConfig(), self.stream()),
                        "which are for NONE");
                assertIllegalState(unscaled::receivedScales, "no received scales");
                assertIllegalState(scaled::scales, "no scales of tokens");
                assertIllegalState(scaled::expertOutputScales, "no scales of experts' outputs");
                handle.dispatchAsync(scaled, 1, scaled.dispatchConfig().sendOnly(), self.stream());
                handle.complete();
                handle.combineAsync(scaled, self.stream());
                self.stream().await(MoeRank.LIMIT);

                EmulatorUsage before = Emulator.usage(rank.device());
                assertFailure(UnsupportedOperationException.class, () -> handle.allocateBuffers(plain.nvfp4Combine()),
                        "compute capability 10.0");
                assertIllegalArgument(
                        () -> handle.allocateBuffers(
                                plain.forwarding(DataType.FLOAT8_E4M3, model.hidden() + 8, DataType.FLOAT32, 4)),
                        "multiple of 16");
                assertIllegalArgument(
                        () -> handle.allocateBuffers(
                                plain.forwarding(DataType.FLOAT8_E4M3, model.hidden(), DataType.INT32, 4)),
                        "scales are INT32");
                assertIllegalArgument(
                        () -> handle.allocateBuffers(
                                plain.forwarding(DataType.FLOAT32, model.hidden(), DataType.FLOAT32, 4)),
                        "maxTokenBytes");
                assertThat(Emulator.usage(rank.device()).leakedSince(before)).isEmpty();
            }
        });
    }
}
