package io.nccl4j.ep;

/** The rules for making handles: A.3 of the semantics. */
final class HandleRules {
    /** Top-k that a low-latency message header has room for. */
    private static final int LL_MAX_TOPK = 32;
    private static final int HT_EM_MAX_TOPK = 32;
    private static final int HT_EM_MAX_LOCAL_EXPERTS = 256;
    /** Rows whose numbers fit beside the other fields of a slot map. */
    private static final int HT_EM_MAX_ROWS = (1 << 22) - 1;
    /** Ranks whose numbers fit beside the slot in a slot map. */
    private static final int HT_DUP_MAX_RANKS = 128;
    private static final int HT_DUP_MAX_EXPERTS = 8;
    private static final int WARPS_PER_BLOCK = 32;
    private static final int MEMORY_ALIGNMENT = 256;

    private HandleRules() {
    }

    static void checkShape(HandleShape s, Violations v) {
        v.addIf(Rule.LAYOUT, !s.config().algorithm().has(s.layout()), "%s has no layout %s", s.config().algorithm(),
                s.layout());
        v.addIf(Rule.TOPK, s.topK() <= 0 || s.topK() > s.config().experts(),
                "topK is %d: must be from 1 to the %d experts", s.topK(), s.config().experts());
        if (s.isLowLatency()) {
            checkLowLatency(s, v);
        } else {
            checkHighThroughput(s, v);
        }
    }

    private static void checkLowLatency(HandleShape s, Violations v) {
        EpGroupConfig c = s.config();
        v.addIf(Rule.LL_ONE_SHAPE, !c.isGrowing() && (s.layout() != c.layout() || s.topK() != c.topK()),
                "a handle with layout %s and topK %d: the low-latency group has layout %s and topK %d, "
                        + "another shape is another group",
                s.layout(), s.topK(), c.layout(), c.topK());
        int perSm = Math.ceilDiv(c.experts(), c.maxSms() > 0 ? c.maxSms() : s.group().device().sms());
        int warps = perSm * (WARPS_PER_BLOCK / perSm);
        int most = Math.min(LL_MAX_TOPK, warps - 1);
        v.addIf(Rule.TOPK, s.topK() > most, "topK is %d: a low-latency group can do at most %d", s.topK(), most);
        v.addIf(Rule.LL_REGIONS, !LowLatencyRegions.of(s.group(), s.layout(), s.topK()).aligned(),
                "maxTokenBytes %d with maxTokensPerRank %d: the regions of the RDMA buffer would not be multiples "
                        + "of 16 bytes; choose maxTokenBytes a multiple of 1024, or maxTokensPerRank a multiple of 4",
                c.maxTokenBytes(), c.maxTokensPerRank());
    }

    private static void checkHighThroughput(HandleShape s, Violations v) {
        EpGroupConfig c = s.config();
        v.addIf(Rule.TOPK, c.topK() != 0 && c.isEager() && s.topK() > c.topK(),
                "topK is %d: the group was created for at most %d", s.topK(), c.topK());
        v.addIf(Rule.EAGER_TOPK, c.isEager() && s.isExpertMajor() && c.topK() == 0,
                "an eager group with EXPERT_MAJOR handles must name topK in its configuration");
        v.addIf(Rule.ALIGNMENT, s.isExpertMajor() && !GroupRules.isPowerOfTwo(s.alignment()),
                "alignment is %d: must be a power of two", s.alignment());
        long worst = s.group().worstCaseRows(s.layout(), s.topK(), s.alignment());
        v.addIf(Rule.RECEIVE_BUDGET, !c.isEager() && c.receiveRows() == 0 && s.receiveRows() < worst,
                "layout %s, topK %d and alignment %d can bring %d rows: the group's default budget is %d, "
                        + "give maxReceiveRows",
                s.layout(), s.topK(), s.alignment(), worst, s.receiveRows());
        v.addIf(Rule.TOPK, s.isExpertMajor() && s.topK() > HT_EM_MAX_TOPK,
                "topK is %d: EXPERT_MAJOR of high throughput can do at most %d", s.topK(), HT_EM_MAX_TOPK);
        if (s.mode().duplicates()) {
            checkDuplicating(s, v);
        } else {
            v.addIf(Rule.EM_EXPERTS, s.isExpertMajor() && s.localExperts() > HT_EM_MAX_LOCAL_EXPERTS,
                    "%d experts per rank: EXPERT_MAJOR of high throughput can do at most %d", s.localExperts(),
                    HT_EM_MAX_LOCAL_EXPERTS);
        }
    }

    private static void checkDuplicating(HandleShape s, Violations v) {
        EpGroupConfig c = s.config();
        long worst = (long) s.ranks() * c.maxTokensPerRank() * s.topK();
        v.addIf(Rule.DUP_BUDGET, !c.isEager() && c.zeroCopy() != ZeroCopy.ON && s.receiveRows() < worst,
                "the receive budget is %d rows: mode %s needs %d (ranks x maxTokensPerRank x topK)", s.receiveRows(),
                s.mode(), worst);
        if (!s.isExpertMajor()) {
            return;
        }
        v.addIf(Rule.EM_ROWS, s.receiveRows() > HT_EM_MAX_ROWS,
                "the receive budget is %d rows: EXPERT_MAJOR in mode %s can number at most %d", s.receiveRows(),
                s.mode(), HT_EM_MAX_ROWS);
        v.addIf(Rule.DUP_RANKS, s.ranks() > HT_DUP_MAX_RANKS, "%d ranks: EXPERT_MAJOR in mode %s can number at most %d",
                s.ranks(), s.mode(), HT_DUP_MAX_RANKS);
        int together = Math.min(s.topK(), s.localExperts());
        v.addIf(Rule.DUP_EXPERTS, s.mode() == ExpertMajorMode.LOCAL_DUP && together > HT_DUP_MAX_EXPERTS,
                "topK %d with %d experts per rank: mode %s adds the rows of at most %d experts that a token has on one "
                        + "rank, and there can be %d",
                s.topK(), s.localExperts(), s.mode(), HT_DUP_MAX_EXPERTS, together);
        v.addIf(Rule.HT_TOKENS_BY_FOUR, (long) c.maxTokensPerRank() * s.topK() % 4 != 0,
                "maxTokensPerRank %d times topK %d: mode %s needs a multiple of 4", c.maxTokensPerRank(), s.topK(),
                s.mode());
        v.addIf(Rule.EM_EXPERTS, !GroupRules.isPowerOfTwo(s.localExperts()),
                "%d experts per rank: mode %s needs a power of two", s.localExperts(), s.mode());
        v.addIf(Rule.DROP_ALIGNMENT, c.overflow() == OverflowPolicy.DROP && s.receiveRows() % s.alignment() != 0,
                "the receive budget is %d rows: must be a multiple of the alignment %d when rows are dropped in mode "
                        + "%s",
                s.receiveRows(), s.alignment(), s.mode());
    }

    /** @param needed as the library says */
    static void checkMemory(TensorShape memory, long needed) {
        Rule.HANDLE_MEMORY.refuseIf(memory.rows() < needed, "handle memory of %d bytes: the handle needs %d",
                memory.rows(), needed);
        Rule.HANDLE_MEMORY.refuseIf(memory.address() % MEMORY_ALIGNMENT != 0,
                "handle memory starts at 0x%x: must be a multiple of %d", memory.address(), MEMORY_ALIGNMENT);
    }

    /** @param used by another handle */
    static void checkApart(TensorShape memory, TensorShape used, String user) {
        Rule.HANDLE_MEMORY.refuseIf(
                memory.address() < used.address() + used.rows() && used.address() < memory.address() + memory.rows(),
                "handle memory at 0x%x is in use by %s: a handle needs memory of its own", memory.address(), user);
    }
}
