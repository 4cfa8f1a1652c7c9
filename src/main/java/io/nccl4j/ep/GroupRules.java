package io.nccl4j.ep;

import java.time.Duration;

/** The rules for the configuration of a group: A.2 of the semantics. */
final class GroupRules {
    private static final int LL_EXPERTS_PER_SM = 14;
    /** Rows of one rank for one destination that the completion counter of low latency can tell apart. */
    private static final int LL_MAX_TOKENS = 16_383;
    /** Of its kernels: one prepares, the others send. */
    private static final int LL_BLOCKS = 2;
    private static final int HT_MAX_SMS = 16;
    private static final int VECTOR_BYTES = 16;
    private static final long UNSIGNED_INT_MAX = 0xffff_ffffL;
    private static final Duration LONGEST_TIMEOUT = Duration.ofNanos(Long.MAX_VALUE);

    private GroupRules() {
    }

    /** The rules that need no communicator; refuses what breaks any of them. */
    static void checkConfig(EpGroupConfig c) {
        Violations v = new Violations();
        v.addIf(Rule.GROUP_SIZES, c.experts() <= 0 || c.maxTokensPerRank() <= 0 || c.maxTokenBytes() <= 0,
                "experts %d, maxTokensPerRank %d, maxTokenBytes %d: all three must be given and positive", c.experts(),
                c.maxTokensPerRank(), c.maxTokenBytes());
        v.addIf(Rule.TOKEN_BYTES, c.maxTokenBytes() % VECTOR_BYTES != 0,
                "maxTokenBytes is %d: must be a multiple of 16, such as %d", c.maxTokenBytes(),
                Sizes.alignUp(c.maxTokenBytes(), VECTOR_BYTES));
        v.addIf(Rule.GROUP_TOPK, c.topK() < 0 || c.topK() > c.experts(), "topK is %d: must be from 1 to the %d experts",
                c.topK(), c.experts());
        Duration timeout = c.timeout();
        v.addIf(Rule.TIMEOUT,
                timeout != null
                        && (timeout.compareTo(Duration.ofMillis(1)) < 0 || timeout.compareTo(LONGEST_TIMEOUT) > 0),
                "timeout is %s: must be at least a millisecond, and at most 2^63 nanoseconds", timeout);
        v.addIf(Rule.GROUP_SIZES,
                c.maxSms() < 0 || c.dispatchSms() < 0 || c.combineSms() < 0 || c.queuePairs() < 0 || c.channels() < 0
                        || c.rdmaBufferBytes() < 0 || c.receiveRows() < 0,
                "maxSms %d, dispatchSms %d, combineSms %d, queuePairs %d, channels %d, rdmaBufferBytes %d, "
                        + "maxReceiveRows %d: must not be negative",
                c.maxSms(), c.dispatchSms(), c.combineSms(), c.queuePairs(), c.channels(), c.rdmaBufferBytes(),
                c.receiveRows());
        v.addIf(Rule.ALIGNMENT, c.alignment() != 0 && !isPowerOfTwo(c.alignment()),
                "alignment is %d: must be a power of two", c.alignment());
        Layout layout = c.layout();
        v.addIf(Rule.LAYOUT, layout != null && !c.algorithm().has(layout), "%s has no layout %s", c.algorithm(),
                layout);
        if (c.algorithm() == Algorithm.LOW_LATENCY) {
            checkLowLatency(c, v);
        } else {
            checkHighThroughput(c, v);
        }
        v.refuse();
    }

    static boolean isPowerOfTwo(int value) {
        return value > 0 && Integer.bitCount(value) == 1;
    }

    private static void checkLowLatency(EpGroupConfig c, Violations v) {
        v.addIf(Rule.LAYOUT, c.layout() == null,
                "a low-latency group must name its layout, EXPERT_MAJOR or RANK_MAJOR");
        v.addIf(Rule.TOPK, c.topK() == 0, "a low-latency group must name its topK");
        v.addIf(Rule.RECEIVE_BUDGET, c.isEager() || c.receiveRows() != 0 || c.overflow() != OverflowPolicy.AUTO,
                "a low-latency group has no receive budget: every zone holds the worst case");
        v.addIf(Rule.LL_TOKENS, c.maxTokensPerRank() > LL_MAX_TOKENS,
                "maxTokensPerRank is %d: a low-latency group can count %d rows of one rank for one destination; "
                        + "use high throughput for larger batches",
                c.maxTokensPerRank(), LL_MAX_TOKENS);
    }

    private static void checkHighThroughput(EpGroupConfig c, Violations v) {
        v.addIf(Rule.RECEIVE_BUDGET, c.receiveRows() > 0 && c.receiveRows() < c.maxTokensPerRank(),
                "maxReceiveRows is %d: must be at least the %d tokens of a rank", c.receiveRows(),
                c.maxTokensPerRank());
        v.addIf(Rule.EAGER_DROP, c.isEager() && c.overflow() == OverflowPolicy.DROP,
                "an eager group has no receive budget beyond which it could DROP: give maxReceiveRows");
        v.addIf(Rule.MASK_NEEDS_LL, c.hasMask() || c.timeout() != null,
                "masks and timeouts exist in low-latency groups only: a high-throughput group waits for all ranks");
        v.addIf(Rule.LL_BUFFER, c.isGrowing() || c.rdmaBufferBytes() != 0,
                "the RDMA buffer belongs to low-latency groups: a high-throughput group is sized by maxReceiveRows");
    }

    /** The rules that depend on the communicator and its device. */
    static void checkGroup(GroupShape group, EpGeneration generation, Violations v) {
        EpGroupConfig c = group.config();
        int ranks = group.ranks();
        int deviceSms = group.device().sms();
        int padded = GroupShape.paddedExperts(c.algorithm(), c.experts(), ranks, group.teams());
        v.addIf(Rule.EXPERTS_PER_RANK, c.experts() % ranks != 0,
                "%d experts on %d ranks: must be a multiple of the number of ranks; the next number that works is %d",
                c.experts(), ranks, padded);
        int mostSms = Math.max(c.maxSms(), Math.max(c.dispatchSms(), c.combineSms()));
        v.addIf(Rule.SMS, mostSms > deviceSms, "maxSms is %d, dispatchSms %d, combineSms %d: the device has %d",
                c.maxSms(), c.dispatchSms(), c.combineSms(), deviceSms);
        v.addIf(Rule.GENERATION, !generation.hasSeparateSms() && (c.dispatchSms() != 0 || c.combineSms() != 0),
                "dispatchSms %d, combineSms %d: the library is %s, release 0.2.0 is the first to have them; use maxSms",
                c.dispatchSms(), c.combineSms(), generation);
        if (c.algorithm() == Algorithm.LOW_LATENCY) {
            int sms = c.maxSms() > 0 ? c.maxSms() : deviceSms;
            int perSm = Math.ceilDiv(c.experts(), sms);
            v.addIf(Rule.LL_EXPERTS_PER_SM, perSm > LL_EXPERTS_PER_SM, "%d experts on %d SMs: at most %d per SM",
                    c.experts(), sms, LL_EXPERTS_PER_SM);
            v.addIf(Rule.LL_BLOCKS, perSm > 0 && Math.ceilDiv(c.experts(), perSm) < LL_BLOCKS,
                    "%d experts on %d SMs: a low-latency group needs %d of each", c.experts(), sms, LL_BLOCKS);
            return;
        }
        v.addIf(Rule.HT_SMS, !generation.hasSeparateSms() && c.maxSms() > HT_MAX_SMS,
                "maxSms is %d: a high-throughput group can use at most %d", c.maxSms(), HT_MAX_SMS);
        v.addIf(Rule.HT_EXPERTS_BY_FOUR, c.experts() % group.teams() == 0 && c.experts() / group.teams() % 4 != 0,
                "%d experts on %s: a high-throughput group needs a multiple of 4 in each team; the next number that "
                        + "works is %d",
                c.experts(), group.teamsText(), padded);
        v.addIf(Rule.HT_TOKENS_BY_FOUR, (long) c.maxTokensPerRank() * group.teamSize() % 4 != 0,
                "maxTokensPerRank %d times %d ranks of a team: a high-throughput group needs a multiple of 4, "
                        + "such as with maxTokensPerRank %d",
                c.maxTokensPerRank(), group.teamSize(), Sizes.alignUp(c.maxTokensPerRank(), 4));
        if (c.experts() % ranks == 0) {
            long bound = group.receiveRows();
            v.addIf(Rule.EAGER_BOUND, c.isEager() && bound > UNSIGNED_INT_MAX,
                    "an eager group could receive %d rows: at most %d", bound, UNSIGNED_INT_MAX);
            v.addIf(Rule.RECEIVE_BUDGET, !c.isEager() && bound > Integer.MAX_VALUE,
                    "the worst case is %d rows: give maxReceiveRows", bound);
        }
    }
}
