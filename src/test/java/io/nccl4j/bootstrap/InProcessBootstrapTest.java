package io.nccl4j.bootstrap;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

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
