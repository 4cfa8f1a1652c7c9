package io.nccl4j.ep;

import java.time.Duration;

/** The rules for the configuration of a group: A.2 of the semantics. */
final class GroupRules {
    private static final int LL_EXPERTS_PER_SM = 14;
    private static final int HT_MAX_SMS = 16;
    private static final long UNSIGNED_INT_MAX = 0xffff_ffffL;

    private static final Duration LONGEST_TIMEOUT = Duration.ofNanos(Long.MAX_VALUE);

    private GroupRules() {
    }

    /** What can be said without a communicator. */
    static void checkConfig(EpGroupConfig c) {
        Rule.GROUP_SIZES.require(c.experts() > 0 && c.maxTokensPerRank() > 0 && c.maxTokenBytes() > 0,
                "experts %d, maxTokensPerRank %d, maxTokenBytes %d: all three must be given and positive", c.experts(),
                c.maxTokensPerRank(), c.maxTokenBytes());
        Rule.TOKEN_BYTES.require(c.maxTokenBytes() % 16 == 0, "maxTokenBytes is %d: must be a multiple of 16",
                c.maxTokenBytes());
        Rule.GROUP_TOPK.require(c.topK() >= 0 && c.topK() <= c.experts(),
                "topK is %d: must be from 1 to the %d experts", c.topK(),
                c.experts());
        Duration timeout = c.timeout();
        Rule.TIMEOUT.require(timeout == null
                || timeout.compareTo(Duration.ofMillis(1)) >= 0 && timeout.compareTo(LONGEST_TIMEOUT) <= 0,
                "timeout is %s: must be at least a millisecond, and at most 2^63 nanoseconds", timeout);
        Rule.GROUP_SIZES.require(c.maxSms() >= 0 && c.queuePairs() >= 0 && c.channels() >= 0 && c.rdmaBufferBytes() >= 0
                && c.receiveRows() >= 0,
                "maxSms %d, queuePairs %d, channels %d, rdmaBufferBytes %d, maxReceiveRows %d: must not be "
                        + "negative",
                c.maxSms(), c.queuePairs(), c.channels(), c.rdmaBufferBytes(), c.receiveRows());
        Rule.ALIGNMENT.require(c.alignment() == 0 || Integer.bitCount(c.alignment()) == 1 && c.alignment() > 0,
                "alignment is %d: must be a power of two", c.alignment());
        Layout layout = c.layout();
        Rule.LAYOUT.require(layout == null || c.algorithm().has(layout), "%s has no layout %s", c.algorithm(), layout);
        if (c.algorithm() == Algorithm.LOW_LATENCY) {
            checkLowLatency(c);
        } else {
            checkHighThroughput(c);
        }
    }

    private static void checkLowLatency(EpGroupConfig c) {
        Rule.LAYOUT.require(c.layout() != null, "a low-latency group must name its layout, EXPERT_MAJOR or RANK_MAJOR");
        Rule.TOPK.require(c.topK() > 0, "a low-latency group must name its topK");
        Rule.RECEIVE_BUDGET.require(!c.isEager() && c.receiveRows() == 0 && c.overflow() == OverflowPolicy.AUTO,
                "a low-latency group has no receive budget: every zone holds the worst case");
    }

    private static void checkHighThroughput(EpGroupConfig c) {
        Rule.RECEIVE_BUDGET.require(c.receiveRows() == 0 || c.receiveRows() >= c.maxTokensPerRank(),
                "maxReceiveRows is %d: must be at least the %d tokens of a rank", c.receiveRows(),
                c.maxTokensPerRank());
        Rule.EAGER_DROP.require(!c.isEager() || c.overflow() != OverflowPolicy.DROP,
                "an eager group has no receive budget beyond which it could DROP: give maxReceiveRows");
        Rule.MASK_NEEDS_LL.require(!c.hasMask() && c.timeout() == null,
                "masks and timeouts exist in low-latency groups only: a high-throughput group waits for all ranks");
        Rule.LL_BUFFER.require(!c.isGrowing() && c.rdmaBufferBytes() == 0,
                "the RDMA buffer belongs to low-latency groups: a high-throughput group is sized by maxReceiveRows");
    }

    /** What depends on the communicator, its device and the library. */
    static void checkGroup(EpGroupConfig c, int ranks, DeviceLimits device, EpGeneration generation) {
        Rule.EXPERTS_PER_RANK.require(c.experts() % ranks == 0,
                "%d experts on %d ranks: must be a multiple of the number of ranks",
                c.experts(), ranks);
        int sms = device.sms();
        Rule.SMS.require(c.maxSms() <= sms, "maxSms is %d: the device has %d", c.maxSms(), sms);
        if (c.algorithm() == Algorithm.LOW_LATENCY) {
            checkLowLatency(c, ranks, c.maxSms() > 0 ? c.maxSms() : sms, generation);
        } else {
            checkHighThroughput(c, ranks, generation);
        }
        boolean v2 = generation == EpGeneration.API_V2;
        Rule.V1_FEATURE.require(v2 || !c.isEager(), "eager mode needs API v2 of NCCL EP: give maxReceiveRows");
        Rule.V1_FEATURE.require(v2 || c.overflow() != OverflowPolicy.DROP,
                "OverflowPolicy.DROP needs API v2 of NCCL EP");
        Rule.V1_FEATURE.require(v2 || c.zeroCopy() != ZeroCopy.ON, "ZeroCopy.ON needs API v2 of NCCL EP");
    }

    private static void checkLowLatency(EpGroupConfig c, int ranks, int sms, EpGeneration generation) {
        Rule.LL_EXPERTS_PER_SM.require(Math.ceilDiv(c.experts(), sms) <= LL_EXPERTS_PER_SM,
                "%d experts on %d SMs: at most %d per SM", c.experts(), sms, LL_EXPERTS_PER_SM);
        long localExperts = c.experts() / ranks;
        Rule.V1_LL_TOKENS.require(generation == EpGeneration.API_V2 || c.maxTokensPerRank() * localExperts % 4 == 0,
                "maxTokensPerRank %d times %d local experts: NCCL EP 0.1.0 needs a multiple of 4", c.maxTokensPerRank(),
                localExperts);
    }

    private static void checkHighThroughput(EpGroupConfig c, int ranks, EpGeneration generation) {
        Rule.HT_SMS.require(c.maxSms() <= HT_MAX_SMS, "maxSms is %d: a high-throughput group can use at most %d",
                c.maxSms(),
                HT_MAX_SMS);
        Rule.HT_EXPERTS_BY_FOUR.require(c.experts() % 4 == 0,
                "%d experts: a high-throughput group needs a multiple of 4",
                c.experts());
        Rule.HT_TOKENS_BY_FOUR.require((long) c.maxTokensPerRank() * ranks % 4 == 0,
                "maxTokensPerRank %d times %d ranks: a high-throughput group needs a multiple of 4",
                c.maxTokensPerRank(), ranks);
        long bound = EpSizing.of(c, ranks).receiveRows();
        Rule.EAGER_BOUND.require(!c.isEager() || bound <= UNSIGNED_INT_MAX,
                "an eager group could receive %d rows: at most %d", bound, UNSIGNED_INT_MAX);
        Rule.RECEIVE_BUDGET.require(c.isEager() || bound <= Integer.MAX_VALUE,
                "the worst case is %d rows: give maxReceiveRows", bound);
        Rule.V1_HT_TOKENS.require(generation == EpGeneration.API_V2 || c.maxTokensPerRank() <= 8192,
                "maxTokensPerRank is %d: NCCL EP 0.1.0 allows at most 8192", c.maxTokensPerRank());
    }
}
