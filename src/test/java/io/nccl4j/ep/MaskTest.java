package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaException;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.emulator.Fault;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.testing.HostMirror;
import io.nccl4j.testing.MoeRank;
import java.time.Duration;
import org.junit.jupiter.api.Test;

@EmulatedRanks
class MaskTest {
    @Test
    void aMaskIsAValue() {
        RankMask mask = RankMask.all(4).without(2);
        assertThat(mask.isActive(2)).isFalse();
        assertThat(mask.activeCount()).isEqualTo(3);
        assertThat(mask.with(2)).isEqualTo(RankMask.all(4)).hasSameHashCodeAs(RankMask.all(4));
        assertThat(mask.and(RankMask.all(4).without(0))).isEqualTo(RankMask.all(4).without(0).without(2));
        assertIllegalArgument(() -> mask.without(4), "rank 4 of 4");
        assertIllegalArgument(() -> mask.and(RankMask.all(3)));
        assertIllegalArgument(() -> RankMask.all(0));
        assertThat(mask).hasToString("RankMask({0, 1, 3} of 4)");
    }

    @Test
    void masksGoToTheDeviceAndComeBack(EmulatedCluster cluster) {
        RuleBench.run(cluster, bench -> {
            EpGroup group = bench.group(RuleBench.lowLatency(Layout.EXPERT_MAJOR).mask());
            assertThat(group.maskQuery(bench.stream)).isEqualTo(RankMask.all(2));
            assertThat(group.asyncError()).isFalse();
            for (int round = 0; round < 3; round++) {
                group.maskUpdate(RankMask.all(2).without(round % 2), bench.stream);
                assertThat(group.maskQuery(bench.stream)).isEqualTo(RankMask.all(2).without(round % 2));
            }
            EpTensor onDevice = bench.tensor(DataType.INT32, 2);
            group.maskQuery(onDevice, bench.stream);
            bench.stream.await(MoeRank.LIMIT);
            int[] alive = HostMirror.ints(onDevice);
            assertThat(alive[0]).isZero();
            assertThat(alive[1]).isNotZero();
            group.maskUpdate(RankMask.all(2), bench.stream);
            assertIllegalArgument(() -> group.maskUpdate(RankMask.all(3), bench.stream), "the group has 2 ranks");
            bench.stream.await(MoeRank.LIMIT);
        });
    }

    @Test
    @EmulatedRanks(1)
    void aMaskCallThatFindsNoMemoryLeavesNothing(EmulatedCluster cluster) {
        RuleBench.run(cluster, bench -> {
            EpGroup group = bench.group(RuleBench.lowLatency(Layout.EXPERT_MAJOR).mask());
            EmulatorUsage before = Emulator.usage(bench.rank.device());
            for (int nth : new int[]{1, 2}) {
                Emulator.inject(new Fault.FailAllocation(bench.rank.device().ordinal(), nth));
                assertFailure(CudaException.class, () -> group.maskUpdate(RankMask.all(1), bench.stream),
                        "cudaErrorMemoryAllocation");
                assertThat(Emulator.usage(bench.rank.device()).leakedSince(before)).isEmpty();
            }
            group.maskUpdate(RankMask.all(1), bench.stream);
            assertThat(group.maskQuery(bench.stream)).isEqualTo(RankMask.all(1));
        });
    }

    @Test
    @EmulatedRanks(3)
    void aSilentRankIsMaskedAndCleanedAgain(EmulatedCluster cluster) {
        RuleBench.run(cluster,
                RuleBench.lowLatency(Layout.EXPERT_MAJOR).experts(12).mask().timeout(Duration.ofMillis(200)),
                (bench, calls) -> {
                    bench.rank.bootstrap().barrier();
                    if (bench.rank.rank() != 2) {
                        // Rank 2 takes no part in two operations.
                        calls.update().dispatch().combine().await();
                        assertThat(calls.group.asyncError()).isTrue();
                        assertThat(calls.group.maskQuery(bench.stream)).isEqualTo(RankMask.all(3).without(2));
                        calls.group.errorClear();
                        assertThat(calls.group.asyncError()).isFalse();
                        calls.dispatch().combine().await();
                        assertThat(calls.group.asyncError()).isFalse();
                    }
                    bench.rank.bootstrap().barrier();
                    if (bench.rank.rank() != 2) {
                        calls.group.maskUpdate(RankMask.all(3).without(2), bench.stream);
                        calls.group.maskClean(bench.stream);
                        assertThat(calls.group.maskQuery(bench.stream)).isEqualTo(RankMask.all(3));
                    }
                });
    }
}
