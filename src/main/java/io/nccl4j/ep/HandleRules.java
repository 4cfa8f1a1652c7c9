package io.nccl4j.ep;

import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.jspecify.annotations.Nullable;

/** The rules for making and updating handles: A.3 and A.4 of the semantics. */
final class HandleRules {
    /** Top-k that a low-latency message header has room for. */
    private static final int LL_MAX_TOPK = 32;
    private static final int V1_LL_MAX_TOPK = 9;
    private static final int HT_EM_MAX_TOPK = 32;
    private static final int HT_EM_MAX_LOCAL_EXPERTS = 256;
    private static final int WARPS_PER_BLOCK = 32;
    private static final int MEMORY_ALIGNMENT = 256;

    private HandleRules() {
    }

    static void checkShape(HandleShape s) {
        Rule.LAYOUT.require(s.config().algorithm().has(s.layout()), "%s has no layout %s", s.config().algorithm(),
                s.layout());
        Rule.TOPK.require(s.topK() > 0 && s.topK() <= s.config().experts(),
                "topK is %d: must be from 1 to the %d experts", s.topK(),
                s.config().experts());
        if (s.isLowLatency()) {
            checkLowLatency(s);
        } else {
            checkHighThroughput(s);
        }
    }

    private static void checkLowLatency(HandleShape s) {
        EpGroupConfig c = s.config();
        Rule.LL_ONE_SHAPE.require(c.isGrowing() || s.layout() == c.layout() && s.topK() == c.topK(),
                "a handle with layout %s and topK %d: the low-latency group has layout %s and topK %d, another shape is another group",
                s.layout(), s.topK(), c.layout(), c.topK());
        int perSm = Math.ceilDiv(c.experts(), c.maxSms() > 0 ? c.maxSms() : s.device().sms());
        int warps = perSm * (WARPS_PER_BLOCK / perSm);
        int most = s.isV2() ? Math.min(LL_MAX_TOPK, warps - 1) : V1_LL_MAX_TOPK;
        Rule.TOPK.require(s.topK() <= most, "topK is %d: a low-latency group can do at most %d", s.topK(), most);
        Rule.LL_REGIONS.require(LowLatencyRegions.of(c, s.ranks(), s.layout(), s.topK()).aligned(),
                "maxTokenBytes %d with maxTokensPerRank %d: the regions of the RDMA buffer would not be multiples of 16 bytes; choose "
                        + "maxTokenBytes a multiple of 1024, or maxTokensPerRank a multiple of 4",
                c.maxTokenBytes(),
                c.maxTokensPerRank());
    }

    private static void checkHighThroughput(HandleShape s) {
        EpGroupConfig c = s.config();
        Rule.TOPK.require(c.topK() == 0 || !c.isEager() || s.topK() <= c.topK(),
                "topK is %d: the group was created for at most %d", s.topK(), c.topK());
        Rule.EAGER_TOPK.require(!c.isEager() || !s.isExpertMajor() || c.topK() > 0,
                "an eager group with EXPERT_MAJOR handles must name topK in its configuration");
        Rule.ALIGNMENT.require(!s.isExpertMajor() || Integer.bitCount(s.alignment()) == 1 && s.alignment() > 0,
                "alignment is %d: must be a power of two", s.alignment());
        long worst = EpSizing.of(c, s.ranks()).worstCaseRows(s.layout(), s.topK(), s.alignment());
        Rule.RECEIVE_BUDGET.require(c.isEager() || c.receiveRows() > 0 || s.receiveRows() >= worst,
                "layout %s, topK %d and alignment %d can bring %d rows: the group's default budget is %d, give maxReceiveRows",
                s.layout(), s.topK(), s.alignment(), worst, s.receiveRows());
        if (s.mode().duplicates()) {
            checkDuplicating(s);
        } else {
            Rule.EM_EXPERTS.require(!s.isExpertMajor() || s.localExperts() <= HT_EM_MAX_LOCAL_EXPERTS,
                    "%d experts per rank: EXPERT_MAJOR of high throughput can do at most %d", s.localExperts(),
                    HT_EM_MAX_LOCAL_EXPERTS);
        }
        Rule.TOPK.require(!s.isExpertMajor() || s.topK() <= HT_EM_MAX_TOPK,
                "topK is %d: EXPERT_MAJOR of high throughput can do at most %d", s.topK(), HT_EM_MAX_TOPK);
    }

    private static void checkDuplicating(HandleShape s) {
        EpGroupConfig c = s.config();
        long worst = (long) s.ranks() * c.maxTokensPerRank() * s.topK();
        Rule.DUP_BUDGET.require(!s.isV2() || c.isEager() || c.zeroCopy() == ZeroCopy.ON || s.receiveRows() >= worst,
                "the receive budget is %d rows: mode %s needs %d (ranks x maxTokensPerRank x topK)", s.receiveRows(),
                s.mode(), worst);
        Rule.HT_TOKENS_BY_FOUR.require(!s.isExpertMajor() || (long) c.maxTokensPerRank() * s.topK() % 4 == 0,
                "maxTokensPerRank %d times topK %d: mode %s needs a multiple of 4", c.maxTokensPerRank(), s.topK(),
                s.mode());
        Rule.EM_EXPERTS.require(!s.isExpertMajor() || Integer.bitCount(s.localExperts()) == 1,
                "%d experts per rank: mode %s needs a power of two", s.localExperts(), s.mode());
        Rule.DROP_ALIGNMENT.require(
                !s.isExpertMajor() || c.overflow() != OverflowPolicy.DROP || s.receiveRows() % s.alignment() == 0,
                "the receive budget is %d rows: must be a multiple of the alignment %d when rows are dropped in mode %s",
                s.receiveRows(), s.alignment(), s.mode());
    }

    static void checkMemory(DeviceMemory memory, long bytes) {
        Rule.HANDLE_MEMORY.require(memory.byteSize() >= bytes, "%s has %d bytes: the handle needs %d", memory,
                memory.byteSize(),
                bytes);
        Rule.HANDLE_MEMORY.require(memory.address() % MEMORY_ALIGNMENT == 0,
                "%s starts at 0x%x: must be a multiple of %d", memory,
                memory.address(), MEMORY_ALIGNMENT);
    }

    static void checkApart(DeviceMemory memory, @Nullable DeviceMemory used, EpHandle user) {
        Rule.HANDLE_MEMORY.require(
                used == null || memory.address() >= used.address() + used.byteSize()
                        || used.address() >= memory.address() + memory.byteSize(),
                "%s is in use by %s: a handle needs memory of its own", memory, user);
    }

    /** Everything about the routing but its rows, which {@link #checkTokens} looks at in each step. */
    static void checkRouting(HandleShape s, EpTensor routing) {
        Rule.ROUTING_SHAPE.require(routing.dimensions() == 2 && routing.extent(1) == s.topK(),
                "the routing is %s: must be [tokens, %d]", routing, s.topK());
        Rule.ROUTING_TYPE.require(routing.type() == DataType.INT64 || s.isV2() && routing.type() == DataType.INT32,
                s.isV2()
                        ? "the routing is %s: must be INT64 or INT32"
                        : "the routing is %s: NCCL EP 0.1.0 takes INT64 only",
                routing);
    }

    static void checkRoutingValues(HandleShape s, MemorySegment host, DataType type, long tokens) {
        Rule.ROUTING_TYPE.require(type == DataType.INT64 || type == DataType.INT32,
                "the routing is %s: must be INT64 or INT32", type);
        Rule.ROUTING_SHAPE.require(
                tokens >= 0 && tokens <= host.byteSize() / type.byteSize() / s.topK(),
                "%d tokens: the routing has %d bytes, %d for a token", tokens, host.byteSize(),
                (long) type.byteSize() * s.topK());
        boolean zones = s.isLowLatency() && s.isExpertMajor();
        int[] named = new int[zones ? s.config().experts() : 0];
        for (long i = 0; i < tokens * s.topK(); i++) {
            long expert = type == DataType.INT64
                    ? host.getAtIndex(ValueLayout.JAVA_LONG_UNALIGNED, i)
                    : host.getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, i);
            if (expert >= s.config().experts()) {
                Rule.ROUTING_VALUES.require(false, "token %d routes to expert %d: there are %d, from 0", i / s.topK(),
                        expert, s.config().experts());
            } else if (zones && expert >= 0 && ++named[(int) expert] > s.maxTokens()) {
                Rule.ROUTING_VALUES.require(false,
                        "token %d names expert %d for the %d. time in this routing: its zone has room for %d rows of a rank",
                        i / s.topK(), expert, named[(int) expert], s.maxTokens());
            }
        }
    }

    static void checkTokens(HandleShape s, long tokens) {
        Rule.ROUTING_SHAPE.require(tokens <= s.maxTokens(), "%d tokens: the group was created for at most %d per rank",
                tokens,
                s.maxTokens());
    }

    /** What update takes: nothing for low latency. */
    static void checkUpdateInfo(HandleShape s, @Nullable LayoutInfo info) {
        if (s.isLowLatency()) {
            Rule.LL_UPDATE_INFO.require(info == null,
                    "a layout info: low latency takes it in dispatch, update gets none");
            return;
        }
        if (info == null) {
            return;
        }
        EpTensor counters = info.expertCounters();
        EpTensor offsets = info.expertOffsets();
        EpTensor total = info.receivedTotal();
        checkCounter(s, "expertCounters", counters, s.localExperts());
        checkCounter(s, "receivedTotal", total, 1);
        if (s.isExpertMajor()) {
            checkCounter(s, "expertOffsets", offsets, s.localExperts());
            DataType width = null;
            for (EpTensor counter : new @Nullable EpTensor[]{counters, offsets, total}) {
                Rule.HT_COUNTERS.require(counter == null || width == null || counter.type() == width,
                        "expertCounters %s, expertOffsets %s, receivedTotal %s: must be of one type", counters, offsets,
                        total);
                width = counter == null ? width : counter.type();
            }
        } else {
            Rule.HT_COUNTERS.require(counters == null || counters.type() == DataType.INT32,
                    "expertCounters is %s: must be INT32 for FLAT", counters);
        }
    }

    private static void checkCounter(HandleShape s, String name, @Nullable EpTensor counter, long length) {
        Rule.HT_COUNTERS.require(
                counter == null || counter.dimensions() == 1 && counter.rows() >= length
                        && (counter.type() == DataType.INT32 || counter.type() == DataType.INT64),
                "%s is %s: must be INT32 or INT64 with at least %d elements for %s", name, counter, length, s.layout());
    }
}
