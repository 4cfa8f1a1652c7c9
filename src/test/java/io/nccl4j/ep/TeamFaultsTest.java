package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.Fault;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.CommunicatorRun;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Faults between hosts: some of it before a group is made, some of it later. */
class TeamFaultsTest {
    private static EpCase draw(LayerKind kind, long seed) {
        return EpCase.draw(kind.space(4).withTeams(2), seed);
    }

    /** Every rank is refused in one sentence, and the library was not asked for a group. */
    private static void isRefused(EmulatedCluster cluster, EpGroupConfig config, String sentence) {
        long before = Emulator.callCount("ncclEpCreateGroup");
        CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
            assertThatThrownBy(() -> EpGroup.create(communicator, config)).hasMessageContaining(sentence)
                    .hasMessageNotContaining("rules are broken");
            rank.bootstrap().barrier();
        });
        assertThat(Emulator.callCount("ncclEpCreateGroup")).isEqualTo(before);
    }

    @Test
    @EmulatedRanks(3)
    void m2HostsOfDifferentSizesAreRefused(EmulatedCluster cluster) {
        Emulator.options().devicesPerHost(2);
        for (EpGroupConfig config : List.of(RuleBench.lowLatency(Layout.RANK_MAJOR).experts(6),
                RuleBench.highThroughput(Layout.FLAT).experts(12))) {
            isRefused(cluster, config, "hosts have 1 and 2 ranks: all must have the same number");
        }
    }

    @Test
    @EmulatedRanks(18)
    void m2MoreThanEightRanksOnAHostAreRefused(EmulatedCluster cluster) {
        Emulator.options().devicesPerHost(9);
        isRefused(cluster, RuleBench.lowLatency(Layout.EXPERT_MAJOR).experts(18),
                "2 teams of 9 ranks: NCCL EP takes at most 8 ranks per host");
    }

    @Test
    @EmulatedRanks(4)
    void m2HostsOfOneNameAreRefused(EmulatedCluster cluster) {
        Emulator.environment("NCCL_LSA_TEAM_SIZE", "2");
        isRefused(cluster, RuleBench.highThroughput(Layout.FLAT), "all hosts are named");
    }

    /** A slow network delays a step and changes nothing. */
    @Test
    @EmulatedRanks(value = 4, hosts = 2)
    void m4ASlowLinkDelays(EmulatedCluster cluster) {
        LayerKind kind = LayerKind.HT_FLAT;
        EpCase batch = draw(kind, 11);
        Emulator.inject(new Fault.SlowLink(2, 1, Duration.ofMillis(60)));
        List<Long> waited = cluster.call(rank -> {
            try (MoeRank moe = MoeRank.of(rank, kind, batch)) {
                MoeLayer layer = moe.layer();
                rank.bootstrap().barrier();
                long start = System.nanoTime();
                layer.runAndVerify(batch);
                long end = System.nanoTime();
                rank.bootstrap().barrier();
                return end - start;
            }
        });
        assertThat(Duration.ofNanos(waited.get(2))).isGreaterThanOrEqualTo(Duration.ofMillis(120));
    }

    /** A host that dies is masked rank by rank, and the other host goes on. */
    @Test
    @EmulatedRanks(value = 4, hosts = 2, allowLeaks = true)
    void m3AHostThatDiesIsMasked(EmulatedCluster cluster) {
        LayerKind kind = LayerKind.LL_RANK_MAJOR;
        EpCase batch = draw(kind, 13);
        for (int dead = 2; dead < 4; dead++) {
            Emulator.inject(new Fault.Silence(dead, 1));
        }
        MoeRank.run(cluster, kind, batch, config -> config.mask().timeout(Duration.ofMillis(500)), (moe, layer) -> {
            layer.load(batch);
            layer.enqueue(layer.count(batch));
            moe.await();
            if (moe.rank() < 2) {
                RankMask mask = moe.group().maskQuery(moe.stream());
                assertThat(mask).isEqualTo(RankMask.all(4).without(2).without(3));
                assertThat(moe.group().asyncError()).isTrue();
            }
            moe.bootstrap().barrier();
            moe.communicator().abandon("the test has lost a host");
        });
    }
}
