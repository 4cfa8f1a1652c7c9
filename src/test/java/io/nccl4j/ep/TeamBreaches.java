package io.nccl4j.ep;

import static io.nccl4j.ep.RuleBench.highThroughput;
import static io.nccl4j.ep.RuleBench.lowLatency;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.nccl.DataType;
import io.nccl4j.testing.MoeRank;
import java.util.List;
import java.util.concurrent.CountDownLatch;

/** Groups over several LSA teams that cannot work. */
final class TeamBreaches {
    private TeamBreaches() {
    }

    /** The first handle's combine is held back while the second one's dispatch begins. */
    private static void twoStreams(RuleBench b) {
        RuleBench.Calls first = b.calls(highThroughput(Layout.FLAT)).update().dispatch();
        RuleBench.Calls second = b.new Calls(first.group, b.own(first.group.createHandle())).update().await();
        CudaStream other = b.own(CudaStream.create(b.rank.device()));
        CountDownLatch begun = new CountDownLatch(1);
        b.stream.launchHostFunction(() -> {
            try {
                begun.await();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        });
        try {
            first.combine();
            second.handle.dispatch(second.inputs, second.outputs, null, other);
            other.await(MoeRank.LIMIT);
        } finally {
            begun.countDown();
        }
    }

    static List<Breach> all() {
        return List.of(
                Breach.unseen(Rule.TEAM_LIMITS, "4 ranks in 3 teams", "must be a multiple of it",
                        b -> EpSizing.of(lowLatency(Layout.EXPERT_MAJOR), 4, 3)),
                Breach.error(Rule.GIN, "low latency without GIN", "kernels cannot send over the network",
                        b -> b.group(lowLatency(Layout.EXPERT_MAJOR))).onHosts(2).with("NCCL_GIN_ENABLE", "0"),
                Breach.error(Rule.GIN, "low latency on rails", "NCCL_CROSS_NIC must not be 0",
                        b -> b.group(lowLatency(Layout.EXPERT_MAJOR))).onHosts(2).with("NCCL_CROSS_NIC", "0"),
                Breach.misuse(Rule.GIN, "high throughput without GIN", "kernels cannot send over the network",
                        b -> b.group(highThroughput(Layout.FLAT))).onHosts(2).with("NCCL_GIN_ENABLE", "0"),
                Breach.misuse(Rule.QUEUE_PAIRS, "32 queue pairs for 16 SMs", "needs at least 33",
                        b -> b.group(highThroughput(Layout.FLAT).queuePairs(32))).onHosts(2),
                Breach.misuse(Rule.QUEUE_PAIRS, "3 queue pairs for low latency", "needs at least 4",
                        b -> b.calls(lowLatency(Layout.EXPERT_MAJOR).queuePairs(3)).update().dispatch()).onHosts(2),
                Breach.misuse(Rule.HT_EXPERTS_BY_FOUR, "4 experts in 2 teams", "the next number that works is 8",
                        b -> b.calls(highThroughput(Layout.FLAT).experts(4)).update().dispatch()).onHosts(2),
                Breach.error(Rule.SHARED_STAGING, "two handles on two streams",
                        "let the one wait for an event that is recorded on the other", TeamBreaches::twoStreams)
                        .onHosts(2),
                Breach.error(Rule.HOST_NAMES, "two teams on one host", "all hosts are named",
                        b -> b.calls(highThroughput(Layout.FLAT)).update().await()).with("NCCL_LSA_TEAM_SIZE"),
                Breach.unseen(Rule.HOST_SIZES, "hosts of 2 and 1 ranks", "hosts have 1 and 2 ranks", b -> {
                    Violations violations = new Violations();
                    TeamRules.checkHosts(GroupShape.of(lowLatency(Layout.EXPERT_MAJOR), 3, 3, DeviceLimits.ANY),
                            new RankHosts(List.of("a", "a", "b")), violations);
                    violations.refuse();
                }), Breach.error(Rule.ZERO_COPY_TEAMS, "windows of another team", "use ZeroCopy.AUTO", b -> {
                    RuleBench.Calls calls = b.calls(lowLatency(Layout.RANK_MAJOR).zeroCopy(ZeroCopy.ON)).update();
                    calls.outputs = DispatchOutputs.of(
                            b.windowed(DataType.BFLOAT16, 2, RuleBench.TOKENS, RuleBench.LL_HIDDEN),
                            b.tensor(DataType.FLOAT32, 2, RuleBench.TOKENS, RuleBench.TOPK),
                            b.tensor(DataType.INT32, 2, RuleBench.TOKENS, RuleBench.TOPK));
                    calls.dispatch();
                }).onHosts(2), Breach.unseen(Rule.GENERATION, "SMs of dispatch in API version 2",
                        "release 0.2.0 is the first", b -> b.group(highThroughput(Layout.FLAT).dispatchSms(8))));
    }
}
