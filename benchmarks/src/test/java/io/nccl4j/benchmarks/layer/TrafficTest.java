package io.nccl4j.benchmarks.layer;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.oracle.Routing;
import io.nccl4j.oracle.Source;
import io.nccl4j.testing.LayerKind;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class TrafficTest {
    private static final long SEED = 3;
    private static final int RANKS = 4;
    private static final int EXPERTS = 16;
    private static final int TOKENS = 32;
    private static final int HIDDEN = 1024;
    private static final int TOP_K = 6;

    private static LayerShape shape(LayerKind kind) {
        return LayerShape.bfloat16(kind, RANKS, EXPERTS, TOP_K, TOKENS, HIDDEN);
    }

    private static Traffic traffic(LayerShape shape) {
        return new Traffic(shape, shape.routing(true, SEED));
    }

    /** Pairs of a token and a rank, counted here. */
    private static long messages(Routing routing, int source) {
        Set<Integer> pairs = new HashSet<>();
        for (int token = 0; token < TOKENS; token++) {
            for (int k = 0; k < TOP_K; k++) {
                pairs.add(token * RANKS + routing.of(source)[token][k] / (EXPERTS / RANKS));
            }
        }
        return pairs.size();
    }

    @ParameterizedTest
    @EnumSource(names = {"LL_EXPERT_MAJOR", "LL_RANK_MAJOR"})
    void lowLatencySendsATokenOnceToEachRank(LayerKind kind) {
        Traffic traffic = traffic(shape(kind));
        long messages = messages(traffic.routing(), 1);
        assertThat(messages).isPositive().isLessThan((long) TOKENS * TOP_K);
        assertThat(traffic.dispatchBytes(1)).isEqualTo(messages * HIDDEN * 2);
    }

    @Test
    void lowLatencyBringsHomeARowPerExpertOrPerRank() {
        Traffic regions = traffic(shape(LayerKind.LL_RANK_MAJOR));
        assertThat(regions.combineBytes(3)).isEqualTo(messages(regions.routing(), 3) * HIDDEN * 2);
        assertThat(traffic(shape(LayerKind.LL_EXPERT_MAJOR)).combineBytes(3))
                .isEqualTo((long) TOKENS * TOP_K * HIDDEN * 2);
    }

    @ParameterizedTest
    @EnumSource(names = {"HT_FLAT", "HT_EXPERT_MAJOR"})
    void highThroughputCountsTheTokensThatArrive(LayerKind kind) {
        Traffic traffic = traffic(shape(kind));
        Routing routing = traffic.routing();
        long rows = 0;
        for (int source = 0; source < RANKS; source++) {
            for (int token = 0; token < TOKENS; token++) {
                Set<Integer> owners = new HashSet<>();
                for (int k = 0; k < TOP_K; k++) {
                    owners.add(routing.of(source)[token][k] / (EXPERTS / RANKS));
                }
                rows += owners.contains(2) ? 1 : 0;
            }
        }
        assertThat(rows).isPositive().isLessThan((long) RANKS * TOKENS * TOP_K);
        assertThat(traffic.dispatchBytes(2)).isEqualTo(rows * HIDDEN * 2);
        assertThat(traffic.combineBytes(2)).isEqualTo(rows * HIDDEN * 2);
    }

    @Test
    void quantisedRowsCountWithTheirScales() {
        LayerShape shape = shape(LayerKind.LL_EXPERT_MAJOR);
        Traffic fp8 = traffic(new LayerShape(shape.kind(), shape.sizes(), shape.rows().blockScaledFp8(false)));
        long messages = messages(fp8.routing(), 0);
        long pairs = (long) TOKENS * TOP_K;
        assertThat(fp8.dispatchBytes(0)).isEqualTo(messages * (HIDDEN + HIDDEN / 128 * 4));
        assertThat(fp8.combineBytes(0)).isEqualTo(pairs * HIDDEN * 2);
        Traffic fp4 = traffic(new LayerShape(shape.kind(), shape.sizes(), shape.rows().nvfp4Combine()));
        assertThat(fp4.dispatchBytes(0)).isEqualTo(messages * HIDDEN * 2);
        assertThat(fp4.combineBytes(0)).isEqualTo(pairs * (HIDDEN / 2 + HIDDEN / 16));
    }

    @ParameterizedTest
    @EnumSource
    void whatIsSentArrives(LayerKind kind) {
        Routing routing = shape(kind).routing(false, SEED);
        long sent = 0;
        for (Source source : routing.sources()) {
            for (int rank = 0; rank < RANKS; rank++) {
                int experts = routing.localExperts(source, rank).length;
                sent += kind.hasRowPerExpert() ? experts : Math.min(1, experts);
            }
        }
        assertThat(new Traffic(shape(kind), routing).received()).isEqualTo(sent);
    }

    @Test
    void tokensHaveDifferentExperts() {
        Routing routing = shape(LayerKind.LL_EXPERT_MAJOR).routing(false, SEED);
        Set<Integer> counts = new HashSet<>();
        for (int rank = 0; rank < RANKS; rank++) {
            counts.add(routing.tokens(rank));
            assertThat(routing.tokens(rank)).isBetween(TOKENS / 2, TOKENS);
            for (int[] token : routing.of(rank)) {
                assertThat(token).hasSize(TOP_K).doesNotHaveDuplicates();
                assertThat(Arrays.stream(token).boxed()).allMatch(expert -> expert >= 0 && expert < EXPERTS);
            }
        }
        assertThat(counts).as("tokens of the ranks").hasSizeGreaterThan(1);
    }

    @Test
    void theBatchHasTheRoutingThatIsMeasured() {
        LayerShape shape = shape(LayerKind.HT_FLAT);
        assertThat(shape.batch(false, SEED).inputs().routing().of(2)).isDeepEqualTo(shape.routing(false, SEED).of(2));
        assertThat(shape.batch(true, SEED).inputs().tokens()[1]).hasDimensions(TOKENS, HIDDEN * 2);
    }
}
