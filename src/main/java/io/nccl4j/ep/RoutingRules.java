package io.nccl4j.ep;

import io.nccl4j.nccl.DataType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.jspecify.annotations.Nullable;

/** The rules for an update: A.4 of the semantics. */
final class RoutingRules {
    private RoutingRules() {
    }

    static boolean isIndex(DataType type) {
        return type == DataType.INT64 || type == DataType.INT32;
    }

    static void checkRouting(HandleShape s, TensorShape routing) {
        Rule.ROUTING_SHAPE.refuseIf(routing.dimensions() != 2 || routing.width() != s.topK(),
                "the routing is %s: must be [tokens, %d]", routing, s.topK());
        Rule.ROUTING_TYPE.refuseIf(!isIndex(routing.type()), "the routing is %s: must be INT64 or INT32", routing);
        Rule.ROUTING_SHAPE.refuseIf(routing.rows() > s.maxTokens(),
                "%d tokens: the group was created for at most %d per rank", routing.rows(), s.maxTokens());
        RowRules.checkAddress("the routing", routing);
    }

    /** The counters that an update takes: none in low latency. */
    static void checkInfo(HandleShape s, LayerTensors.@Nullable Counters info) {
        Rule.LL_UPDATE_INFO.refuseIf(s.isLowLatency() && info != null,
                "a layout info: low latency takes it in dispatch, update gets none");
        if (s.isLowLatency() || info == null) {
            return;
        }
        checkCounter(s, "expertCounters", info.experts(), s.localExperts());
        checkCounter(s, "receivedTotal", info.total(), 1);
        if (s.isExpertMajor()) {
            checkCounter(s, "expertOffsets", info.offsets(), s.localExperts());
            Rule.HT_COUNTERS.refuseIf(
                    differ(info.experts(), info.offsets()) || differ(info.experts(), info.total())
                            || differ(info.offsets(), info.total()),
                    "expertCounters %s, expertOffsets %s, receivedTotal %s: must be of one type", info.experts(),
                    info.offsets(), info.total());
        } else {
            Rule.HT_COUNTERS.refuseIf(info.experts() != null && info.experts().type() != DataType.INT32,
                    "expertCounters is %s: must be INT32 for FLAT", info.experts());
        }
    }

    private static boolean differ(@Nullable TensorShape a, @Nullable TensorShape b) {
        return a != null && b != null && a.type() != b.type();
    }

    private static void checkCounter(HandleShape s, String name, @Nullable TensorShape counter, long length) {
        if (counter != null) {
            Rule.HT_COUNTERS.refuseIf(counter.dimensions() != 1 || counter.rows() < length || !isIndex(counter.type()),
                    "%s is %s: must be INT32 or INT64 with at least %d elements for %s", name, counter, length,
                    s.layout());
            RowRules.checkAddress(name, counter);
        }
    }

    /** A routing on the host, before it is copied to the device. */
    static void checkValues(HandleShape s, MemorySegment host, DataType type, long tokens) {
        Rule.ROUTING_TYPE.refuseIf(!isIndex(type), "the routing is %s: must be INT64 or INT32", type);
        Rule.ROUTING_SHAPE.refuseIf(tokens < 0 || tokens > host.byteSize() / type.byteSize() / s.topK(),
                "%d tokens: the routing has %d bytes, %d for a token", tokens, host.byteSize(),
                (long) type.byteSize() * s.topK());
        boolean zones = s.isLowLatency() && s.isExpertMajor();
        int[] named = new int[zones ? s.config().experts() : 0];
        for (long i = 0; i < tokens * s.topK(); i++) {
            long expert = type == DataType.INT64
                    ? host.getAtIndex(ValueLayout.JAVA_LONG_UNALIGNED, i)
                    : host.getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, i);
            if (expert >= s.config().experts()) {
                Rule.ROUTING_VALUES.refuseIf(true, "token %d routes to expert %d: there are %d, from 0", i / s.topK(),
                        expert, s.config().experts());
            } else if (zones && expert >= 0 && ++named[(int) expert] > s.maxTokens()) {
                Rule.ROUTING_VALUES.refuseIf(true,
                        "token %d names expert %d for the %d. time in this routing: its zone has room for %d rows "
                                + "of a rank",
                        i / s.topK(), expert, named[(int) expert], s.maxTokens());
            }
        }
    }
}
