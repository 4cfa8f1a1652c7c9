package io.nccl4j.benchmarks.layer;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.ep.Algorithm;
import io.nccl4j.ep.Layout;
import io.nccl4j.nccl.DataType;
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

    private static LayerShape shape(Algorithm algorithm, Layout layout, Payload payload) {
        return new LayerShape(algorithm, layout, RANKS, EXPERTS, TOKENS, HIDDEN, TOP_K, DataType.BFLOAT16, payload);
    }

    private static Traffic traffic(LayerShape shape) {
        return new Traffic(new DrawnRouting(shape, true, SEED));
    }

    /** Pairs of a token and a rank, counted here. */
    private static long messages(DrawnRouting routing, int source) {
        Set<Integer> pairs = new HashSet<>();
        for (int token = 0; token < TOKENS; token++) {
            for (int k = 0; k < TOP_K; k++) {
                pairs.add(token * RANKS + routing.expert(source, token, k) / (EXPERTS / RANKS));
            }
        }
        return pairs.size();
    }

    @ParameterizedTest
    @EnumSource(names = {"EXPERT_MAJOR", "RANK_MAJOR"})
    void lowLatencySendsATokenOnceToEachRank(Layout layout) {
        DrawnRouting routing = new DrawnRouting(shape(Algorithm.LOW_LATENCY, layout, Payload.NONE), true, SEED);
        long messages = messages(routing, 1);
        assertThat(messages).isPositive().isLessThan((long) TOKENS * TOP_K);
        assertThat(new Traffic(routing).dispatchBytes(1)).isEqualTo(messages * HIDDEN * 2);
    }

    @Test
    void lowLatencyBringsHomeARowPerExpertOrPerRank() {
        DrawnRouting routing = new DrawnRouting(shape(Algorithm.LOW_LATENCY, Layout.RANK_MAJOR, Payload.NONE), true,
                SEED);
        assertThat(new Traffic(routing).combineBytes(3)).isEqualTo(messages(routing, 3) * HIDDEN * 2);
        assertThat(traffic(shape(Algorithm.LOW_LATENCY, Layout.EXPERT_MAJOR, Payload.NONE)).combineBytes(3))
                .isEqualTo((long) TOKENS * TOP_K * HIDDEN * 2);
    }

    @ParameterizedTest
    @EnumSource(names = {"FLAT", "EXPERT_MAJOR"})
    void highThroughputCountsTheTokensThatArrive(Layout layout) {
        DrawnRouting routing = new DrawnRouting(shape(Algorithm.HIGH_THROUGHPUT, layout, Payload.NONE), true, SEED);
        long rows = 0;
        for (int source = 0; source < RANKS; source++) {
            for (int token = 0; token < TOKENS; token++) {
                Set<Integer> owners = new HashSet<>();
                for (int k = 0; k < TOP_K; k++) {
                    owners.add(routing.expert(source, token, k) / (EXPERTS / RANKS));
                }
                rows += owners.contains(2) ? 1 : 0;
            }
        }
        assertThat(rows).isPositive().isLessThan((long) RANKS * TOKENS * TOP_K);
        assertThat(new Traffic(routing).dispatchBytes(2)).isEqualTo(rows * HIDDEN * 2);
        assertThat(new Traffic(routing).combineBytes(2)).isEqualTo(rows * HIDDEN * 2);
    }

    @Test
    void quantisedRowsCountWithTheirScales() {
        LayerShape shape = shape(Algorithm.LOW_LATENCY, Layout.EXPERT_MAJOR, Payload.FP8);
        long messages = messages(new DrawnRouting(shape, true, SEED), 0);
        long pairs = (long) TOKENS * TOP_K;
        Traffic fp8 = traffic(shape);
        assertThat(fp8.dispatchBytes(0)).isEqualTo(messages * (HIDDEN + HIDDEN / 128 * 4));
        assertThat(fp8.combineBytes(0)).isEqualTo(pairs * HIDDEN * 2);
        Traffic fp4 = traffic(shape(Algorithm.LOW_LATENCY, Layout.EXPERT_MAJOR, Payload.NVFP4));
        assertThat(fp4.dispatchBytes(0)).isEqualTo(messages * HIDDEN * 2);
        assertThat(fp4.combineBytes(0)).isEqualTo(pairs * (HIDDEN / 2 + HIDDEN / 16));
    }

    @ParameterizedTest
    @EnumSource(Layout.class)
    void whatIsSentArrives(Layout layout) {
        DrawnRouting routing = new DrawnRouting(
                shape(layout == Layout.FLAT ? Algorithm.HIGH_THROUGHPUT : Algorithm.LOW_LATENCY, layout, Payload.NONE),
                false, SEED);
        long sent = 0;
        for (int source = 0; source < RANKS; source++) {
            for (int destination = 0; destination < RANKS; destination++) {
                sent += routing.rows(source, destination);
            }
        }
        assertThat(routing.received()).isEqualTo(sent);
    }

    @Test
    void tokensHaveDifferentExpertsAndThoseBeyondTheCountNone() {
        DrawnRouting routing = new DrawnRouting(shape(Algorithm.LOW_LATENCY, Layout.EXPERT_MAJOR, Payload.NONE), false,
                SEED);
        Set<Integer> counts = new HashSet<>();
        for (int rank = 0; rank < RANKS; rank++) {
            counts.add(routing.tokens(rank));
            assertThat(routing.tokens(rank)).isBetween(TOKENS / 2, TOKENS);
            assertThat(routing.selections(rank)).isEqualTo((long) routing.tokens(rank) * TOP_K);
            for (int token = 0; token < TOKENS; token++) {
                Set<Integer> experts = new HashSet<>();
                for (int k = 0; k < TOP_K; k++) {
                    experts.add(routing.expert(rank, token, k));
                }
                if (token < routing.tokens(rank)) {
                    assertThat(experts).hasSize(TOP_K).allMatch(expert -> expert >= 0 && expert < EXPERTS);
                } else {
                    assertThat(experts).containsExactly(-1);
                }
            }
        }
        assertThat(counts).as("tokens of the ranks").hasSizeGreaterThan(1);
    }
}
