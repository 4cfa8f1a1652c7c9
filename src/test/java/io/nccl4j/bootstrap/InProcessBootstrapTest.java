package io.nccl4j.bootstrap;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static io.nccl4j.checks.Refusals.assertThrown;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.NcclException;
import io.nccl4j.nccl.UniqueId;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class InProcessBootstrapTest {
    private static final Duration LIMIT = Duration.ofSeconds(20);

    @Test
    void everyRankGetsWhatAllGave() throws Exception {
        List<Bootstrap> ranks = Bootstraps.inProcess(6, Ranks.options(LIMIT));
        assertThat(Ranks.outcomes(6, ranks::get, bootstrap -> Ranks.gathersRightly(bootstrap, 200))).containsOnly(true);
    }

    @Test
    void resultsBelongToTheRankAlone() throws Exception {
        List<Bootstrap> ranks = Bootstraps.inProcess(2, Ranks.options(LIMIT));
        List<Object> outcomes = Ranks.outcomes(2, ranks::get, bootstrap -> {
            byte[] mine = {1};
            byte[][] all = bootstrap.allGather(mine);
            all[0][0] = 99;
            mine[0] = 98;
            bootstrap.barrier();
            return all[1][0] + bootstrap.allGather(new byte[]{2})[0][0];
        });
        assertThat(outcomes).containsOnly(3);
    }

    @Test
    void oneRankIsEnough() {
        try (Bootstrap bootstrap = Bootstraps.inProcess(1).getFirst()) {
            assertThat(bootstrap.allGather(new byte[]{5})).isDeepEqualTo(new byte[][]{{5}});
            assertThat(bootstrap.localRank()).isZero();
            bootstrap.barrier();
        }
    }

    @Test
    void missingRanksAreNamed() throws Exception {
        List<Bootstrap> ranks = Bootstraps.inProcess(5, Ranks.options(Duration.ofMillis(200)));
        List<Object> outcomes = Ranks.outcomes(5,
                rank -> rank % 2 == 1 ? "absent" : ranks.get(rank).allGather(new byte[0]));
        assertThat(List.of(outcomes.get(0), outcomes.get(2), outcomes.get(4))).allSatisfy(outcome -> {
            assertThat((Throwable) outcome).hasMessageContaining("ranks 1 and 3 did not come within 200 ms");
            assertThat(outcome).isInstanceOfAny(WaitTimeoutException.class, IllegalStateException.class);
        });
        assertThat(outcomes).anyMatch(WaitTimeoutException.class::isInstance);
        assertIllegalState(() -> ranks.get(1).barrier(), "has given up");
    }

    @Test
    void aRankThatLeftIsNamedAtOnce() throws Exception {
        List<Bootstrap> ranks = Bootstraps.inProcess(3, Ranks.options(LIMIT));
        long start = System.nanoTime();
        List<Object> outcomes = Ranks.outcomes(3, rank -> {
            if (rank == 2) {
                ranks.get(2).leave("has no device");
                return "left";
            }
            return ranks.get(rank).allGather(new byte[0]);
        });
        assertThat(outcomes.subList(0, 2))
                .allSatisfy(outcome -> assertThrown(IllegalStateException.class, outcome, "rank 2 has no device"));
        assertThat(System.nanoTime() - start).isLessThan(LIMIT.toNanos());
    }

    @Test
    void whoCompletedACallGetsItsResultEvenIfOthersLeave() throws Exception {
        for (int repetition = 0; repetition < 50; repetition++) {
            List<Bootstrap> ranks = Bootstraps.inProcess(4, Ranks.options(LIMIT));
            assertThat(Ranks.outcomes(4, ranks::get, bootstrap -> Ranks.gathersRightly(bootstrap, 1)))
                    .containsOnly(true);
        }
    }

    @Test
    void wrongUseIsRefused() {
        assertIllegalArgument(() -> Bootstraps.inProcess(0));
        assertIllegalArgument(() -> Bootstraps.inProcess(2, Ranks.options(Duration.ZERO)));
        Bootstrap bootstrap = Bootstraps.inProcess(1).getFirst();
        assertIllegalArgument(() -> bootstrap.allGather(new byte[(1 << 20) + 1]), "1048577 bytes are too many");
        bootstrap.barrier();
        bootstrap.close();
        bootstrap.close();
        assertIllegalState(bootstrap::barrier, "is closed");
    }

    @Test
    @EmulatedRanks
    void theUniqueIdComesFromRank0() throws Exception {
        List<Bootstrap> ranks = Bootstraps.inProcess(3, Ranks.options(LIMIT));
        List<Object> ids = Ranks.outcomes(3, ranks::get, Bootstrap::exchangeUniqueId);
        assertThat(ids).hasOnlyElementsOfType(UniqueId.class).containsOnly(ids.getFirst());
    }

    @Test
    @EmulatedRanks
    void allHearThatRank0CouldMakeNoUniqueId() throws Exception {
        Emulator.presetResult("ncclGetUniqueId", 2);
        List<Bootstrap> ranks = Bootstraps.inProcess(3, Ranks.options(LIMIT));
        List<Object> outcomes = Ranks.outcomes(3, ranks::get, Bootstrap::exchangeUniqueId);
        assertThat((Throwable) outcomes.getFirst()).isInstanceOf(NcclException.class);
        assertThat(outcomes.subList(1, 3))
                .allSatisfy(outcome -> assertThat((Throwable) outcome).isInstanceOf(IllegalStateException.class)
                        .hasMessageStartingWith("rank 0 could not make a unique id: ncclGetUniqueId")
                        .hasMessageContaining("ncclSystemError"));
    }
}
