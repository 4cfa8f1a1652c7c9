package io.nccl4j.oracle;

import static io.nccl4j.checks.Refusals.assertFailure;
import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.EnumSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;

class EpCaseTest {

    @Test
    void aSeedDrawsTheSameCaseAgain() {
        EpCase once = EpCase.draw(CaseSpace.lowLatency(8), 42);
        EpCase again = EpCase.draw(CaseSpace.lowLatency(8), 42);
        assertThat(again.inputs().tokens()).isDeepEqualTo(once.inputs().tokens());
        assertThat(again.toString()).isEqualTo(once.toString());
    }

    @Test
    void casesStayInTheirSpaceAndReachAllKinds() {
        Set<RoutingKind> kinds = EnumSet.noneOf(RoutingKind.class);
        CaseSeeds seeds = CaseSeeds.fresh();
        seeds.first(300).forEach(seed -> {
            EpCase drawn = EpCase.draw(CaseSpace.highThroughput(8).withPowersOfTwo(), seed);
            kinds.add(drawn.kind());
            assertThat(drawn.shape().experts() % 4).as("%s", drawn).isZero();
            assertThat(Integer.bitCount(drawn.shape().localExperts())).as("%s", drawn).isEqualTo(1);
        });
        assertThat(kinds).as("seeds %s", seeds).containsExactlyInAnyOrder(RoutingKind.values());
    }

    @Test
    void shuffledZonesMatchAndForeignRowsDoNot() {
        CaseSpace space = CaseSpace.lowLatency(4).withRoutings(RoutingKind.DUPLICATES).withRanks(4);
        EpCase drawn = LongStream.range(0, 1000).mapToObj(seed -> EpCase.draw(space, seed))
                .filter(some -> LowLatencyExpertMajor.dispatch(some.inputs(), 1).counters()[0] > 2).findFirst()
                .orElseThrow();
        LowLatencyExpertMajor.Received received = LowLatencyExpertMajor.dispatch(drawn.inputs(), 1);
        int rowBytes = drawn.hidden() * drawn.format().bytes();
        int capacity = 4 * drawn.shape().maxTokens();
        byte[] data = new byte[received.zones().size() * capacity * rowBytes];
        Arrays.fill(data, (byte) 0x5a);
        Rows rows = new Rows(data, rowBytes);
        for (int local = 0; local < received.zones().size(); local++) {
            List<Source> zone = new ArrayList<>(received.zones().get(local));
            Collections.shuffle(zone, new Random(3));
            for (int i = 0; i < zone.size(); i++) {
                System.arraycopy(drawn.inputs().token(zone.get(i)), 0, data, (local * capacity + i) * rowBytes,
                        rowBytes);
            }
        }
        received.verify(new ReceivedTokens(rows, null), received.counters(), (byte) 0x5a);
        int used = received.zones().getFirst().size();
        data[used * rowBytes + 5] = 0;
        assertFailure(Mismatch.class,
                () -> received.verify(new ReceivedTokens(rows, null), received.counters(), (byte) 0x5a), "row " + used);
        received.verify(new ReceivedTokens(rows, null), received.counters(), null);
    }

    @Test
    void quantisedBlocksReachTheLargestValueAndComeBackClose() {
        EpCase drawn = EpCase.draw(CaseSpace.lowLatency(2).withFormat(NumberFormat.BFLOAT16).withRanks(2), 5);
        for (boolean powersOfTwo : new boolean[]{false, true}) {
            GlobalInputs quantised = BlockScaledFp8.quantise(drawn.inputs(), powersOfTwo);
            for (Source source : drawn.inputs().routing().sources()) {
                float[] exact = NumberFormat.BFLOAT16.decodeRow(drawn.inputs().token(source));
                float[] coarse = NumberFormat.FLOAT8_E4M3.decodeRow(quantised.token(source));
                float[] scales = NumberFormat.FLOAT32.decodeRow(quantised.scales(source));
                float largest = 0;
                for (int i = 0; i < exact.length; i++) {
                    largest = Math.max(largest, Math.abs(coarse[i]));
                    // Half a unit in the last place of 3 mantissa bits, or of the smallest binade.
                    float allowed = Math.max(Math.abs(exact[i]) / 16, scales[i / 128] / 1024) * 1.0001f;
                    assertThat(Math.abs(coarse[i] * scales[i / 128] - exact[i])).isLessThanOrEqualTo(allowed);
                }
                assertThat(largest).isBetween(powersOfTwo ? 224f : 448f, 448f);
            }
        }
    }
}
