package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.CommunicatorProperties;
import io.nccl4j.nccl.CommunicatorRun;
import io.nccl4j.nccl.GinType;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Groups whose ranks are on several hosts. */
class TeamsTest {
    private static EpCase draw(LayerKind kind, int ranks, int teams, long seed) {
        return EpCase.draw(kind.space(ranks).withTeams(teams), seed);
    }

    @ParameterizedTest
    @EnumSource(LayerKind.class)
    @EmulatedRanks(value = 6, hosts = 3)
    void layersGiveWhatTheOracleSays(LayerKind kind, EmulatedCluster cluster) {
        CaseSeeds seeds = CaseSeeds.fresh("TeamsTest " + kind);
        for (long seed : seeds.first(4).toArray()) {
            EpCase first = draw(kind, 6, 3, seed);
            cluster.run(rank -> {
                try (MoeRank moe = MoeRank.of(rank, kind, first)) {
                    assertThat(moe.group().lsaTeams()).isEqualTo(3);
                    MoeLayer layer = moe.layer();
                    layer.runAndVerify(first);
                    EpCase second = first.redraw(kind.routings()[0], seed + 1);
                    int most = first.shape().maxTokens();
                    try (CudaGraphExec step = layer.capture(most)) {
                        for (EpCase batch : List.of(second, first)) {
                            rank.bootstrap().barrier();
                            layer.load(batch);
                            step.launch(moe.stream());
                            moe.await();
                            layer.verify(batch);
                        }
                    }
                    rank.bootstrap().barrier();
                }
            });
        }
    }

    @Test
    @EmulatedRanks(value = 4, hosts = 2)
    void zeroCopyDuplicatesRowsOverNvlink(EmulatedCluster cluster) {
        CaseSeeds seeds = CaseSeeds.fresh("TeamsTest zero copy");
        LayerKind kind = LayerKind.HT_EXPERT_MAJOR;
        EpCase batch = EpCase.draw(kind.space(4).withTeams(2).withPowersOfTwo(),
                seeds.first(1).findFirst().orElseThrow());
        cluster.run(rank -> {
            try (MoeRank moe = MoeRank.of(rank, kind, batch, config -> config.zeroCopy(ZeroCopy.ON))) {
                moe.layer().runAndVerify(batch);
                rank.bootstrap().barrier();
            }
        });
    }

    @Test
    @EmulatedRanks(value = 6, hosts = 3)
    void propertiesTellTheTeams(EmulatedCluster cluster) {
        CommunicatorRun.run(cluster, (rank, whole, stream) -> {
            CommunicatorProperties properties = whole.properties();
            assertThat(properties).isEqualTo(new CommunicatorProperties(rank.rank(), 6, rank.rank(), rank.rank(), true,
                    false, GinType.GDAKI, 3, false, GinType.GDAKI));
            assertThat(properties.lsaTeamSize()).isEqualTo(2);
            Communicator host = whole.split(rank.rank() / 2, 0);
            assertThat(host.properties().lsaTeams()).isEqualTo(1);
            assertThat(host.properties().gin()).isEqualTo(GinType.NONE);
            host.close();
        });
    }

    /** The library's answer is what {@link EpSizing} says: nothing else of a group comes and goes. */
    @Test
    @EmulatedRanks(value = 8, hosts = 4)
    void sizesAreThoseOfTheLibrary(EmulatedCluster cluster) {
        for (LayerKind kind : LayerKind.values()) {
            EpCase model = draw(kind, 8, 4, 5);
            CommunicatorRun.run(cluster, (rank, communicator, stream) -> {
                EpGroupConfig config = kind.config(model);
                long before = Emulator.usage(rank.device()).deviceBytes();
                try (EpGroup group = EpGroup.create(communicator, config)) {
                    long taken = Emulator.usage(rank.device()).deviceBytes() - before;
                    EpSizing sizing = EpSizing.of(config, 8, 4);
                    assertThat(group.sizing()).hasToString(sizing.toString());
                    // The routing map and the counters are small beside the rest, and not counted.
                    long small = kind.isLowLatency()
                            ? 0
                            : 32 + 8L * config.maxTokensPerRank() * 4 * Math.ceilDiv(2 * sizing.localExperts(), 8);
                    assertThat(taken).isEqualTo(sizing.groupBytes() + small);
                    rank.bootstrap().barrier();
                }
            });
        }
    }

    @Test
    void windowsAndWhatGoesBetweenTeamsAreSizedByHand() {
        EpGroupConfig config = RuleBench.highThroughput(Layout.FLAT).maxTokensPerRank(16).maxTokenBytes(1024)
                .maxReceiveRows(64);
        EpSizing two = EpSizing.of(config, 4, 2);
        // Tokens 64 x 1024 and weights 64 x (2 x 2) x 4 each way, scales 64 x 1024.
        assertThat(two.windowBytes()).isEqualTo(2 * 65_536 + 2 * 1024 + 65_536);
        // To and from the other team: 64 x 1024, 64 x 16, a flag, 2 marks, 16 x (1024 + 16); own 16 x 1024, 16 x 8 x 4.
        assertThat(two.interTeamBytes()).isEqualTo(2 * (65_536 + 4096 + 4096 + 4096 + 20_480) + 16_384 + 4096);
        EpSizing one = EpSizing.of(config, 4);
        assertThat(one.windowBytes()).isEqualTo(2 * 65_536 + 2 * 2048 + 65_536);
        assertThat(one.interTeamBytes()).isZero();
        assertThatThrownBy(() -> EpSizing.of(config, 4, 0)).hasMessageContaining("0 teams of 4 ranks");
    }

    /** A host that is split has one name, which high throughput cannot do with; low latency can. */
    @Test
    @EmulatedRanks(2)
    void aSplitHostServesLowLatency(EmulatedCluster cluster) {
        Emulator.environment("NCCL_LSA_TEAM_SIZE", "1");
        LayerKind kind = LayerKind.LL_RANK_MAJOR;
        EpCase batch = draw(kind, 2, 2, 7);
        cluster.run(rank -> {
            try (MoeRank moe = MoeRank.of(rank, kind, batch)) {
                assertThat(moe.group().lsaTeams()).isEqualTo(2);
                moe.layer().runAndVerify(batch);
                rank.bootstrap().barrier();
            }
        });
    }

    @Test
    void limitsAreToldBeforeAnythingIsCalled() {
        assertThatThrownBy(() -> check(18, 2))
                .hasMessageContaining("2 teams of 9 ranks: NCCL EP takes at most 8 ranks per host");
        assertThatThrownBy(() -> check(72, 9)).hasMessageContaining("72 ranks: NCCL EP takes");
        assertThatThrownBy(() -> {
            Violations violations = new Violations();
            TeamRules.checkHosts(group(18, 6), new RankHosts(hosts(9, 9)), violations);
            violations.refuse();
        }).hasMessageContaining("9 ranks on a host");
        assertThatThrownBy(() -> EmulatedCluster.teams(0, 4)).hasMessageContaining("0 hosts of 4 ranks");
        assertThatThrownBy(() -> EmulatedCluster.teams(2, 9)).hasMessageContaining("at most 8 ranks");
        assertThatThrownBy(() -> EmulatedCluster.teams(9, 8)).hasMessageContaining("64 in all");
        assertThatThrownBy(() -> EmulatedCluster.of(6).onHosts(4)).hasMessageContaining("6 ranks on 4 hosts");
    }

    private static GroupShape group(int ranks, int teams) {
        return GroupShape.of(RuleBench.lowLatency(Layout.EXPERT_MAJOR), ranks, teams, DeviceLimits.ANY);
    }

    private static void check(int ranks, int teams) {
        Violations violations = new Violations();
        CommunicatorProperties properties = new CommunicatorProperties(0, ranks, 0, 0, true, false, GinType.PROXY,
                teams, false, GinType.PROXY);
        TeamRules.check(group(ranks, teams), properties, EpGeneration.API_V2, violations);
        violations.refuse();
    }

    private static List<String> hosts(int... sizes) {
        List<String> hosts = new ArrayList<>();
        for (int host = 0; host < sizes.length; host++) {
            hosts.addAll(Collections.nCopies(sizes[host], "host " + host));
        }
        return hosts;
    }

    @Test
    void ranksThatAlternateOverHostsAreNoticed() {
        assertThat(new RankHosts(List.of("a", "b", "a", "b")).alternate()).isTrue();
        assertThat(new RankHosts(List.of("a", "a", "b", "b")).alternate()).isFalse();
        assertThat(new RankHosts(List.of("a", "a", "b", "b")).sizes())
                .containsExactlyInAnyOrderEntriesOf(Map.of("a", 2, "b", 2));
    }

    /** NCCL names no teams where kernels cannot use the communicator. */
    @Test
    void withoutTeamsNoneHasRanks() {
        assertThat(new CommunicatorProperties(0, 2, 0, 0, false, false, GinType.NONE, 0, false, GinType.NONE)
                .lsaTeamSize()).isZero();
    }
}
