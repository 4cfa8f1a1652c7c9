package io.nccl4j.ep;

import java.util.stream.Collectors;
import java.util.stream.LongStream;
import org.jspecify.annotations.Nullable;

/** The formulas behind {@link EpSizing}, and arithmetic that names the product that is no number. */
final class SizeFormulas {
    private static final int WINDOW_ALIGNMENT = 256;
    private static final int BUFFER_ALIGNMENT = 128;

    private SizeFormulas() {
    }

    /** The next number of experts, from {@code experts} on, that a group on so many ranks can have. */
    static int paddedExperts(Algorithm algorithm, int experts, LsaTeams teams) {
        long multiple = teams.ranks();
        while (algorithm == Algorithm.HIGH_THROUGHPUT && multiple / teams.count() % 4 != 0) {
            multiple += teams.ranks();
        }
        return number("padded experts", alignUp(Math.max(1, experts), multiple));
    }

    /** Bytes of the RDMA buffer of a low-latency group for handles of a shape. */
    static long rdmaBufferBytes(GroupShape group, int ranks, Layout layout, int topK) {
        LowLatencyRegions regions = LowLatencyRegions.of(group, ranks, layout, topK);
        return alignUp(product("bytes of the RDMA buffer", 2, regions.slotBytes() + regions.signalBytes()),
                BUFFER_ALIGNMENT);
    }

    /** Bytes of the window of a high-throughput group. */
    static long windowBytes(GroupShape group, LsaTeams teams) {
        long rows = receiveRows(group, teams);
        ExpertMajorMode mode = ExpertMajorMode.of(group.zeroCopy(), teams);
        long staged = mode == ExpertMajorMode.LOCAL_PERMUTE ? (long) teams.ranks() * group.maxTokensPerRank() : rows;
        long tokens = group.zeroCopy() == ZeroCopy.ON
                ? 0
                : alignUp(product("staged bytes", staged, group.maxTokenBytes()), WINDOW_ALIGNMENT);
        long weights = alignUp(product("bytes of weights", rows, teams.experts(group.experts()), Float.BYTES),
                WINDOW_ALIGNMENT);
        long scales = alignUp(product("bytes of scales", rows, group.maxTokenBytes()), WINDOW_ALIGNMENT);
        return sum("bytes of the window", tokens, tokens, weights, weights, scales);
    }

    /** The most rows that a rank may receive. */
    static long receiveRows(GroupShape group, LsaTeams teams) {
        int ranks = teams.ranks();
        if (group.isLowLatency()) {
            long perZone = (long) ranks * group.maxTokensPerRank();
            return group.layout() == Layout.EXPERT_MAJOR
                    ? product("received rows", perZone, group.experts() / ranks)
                    : perZone;
        }
        if (group.isEager()) {
            return product("received rows", ranks, group.maxTokensPerRank(), Math.max(group.topK(), 1));
        }
        return group.receiveRows() > 0
                ? group.receiveRows()
                : worstCaseRows(group, teams, group.layout(), group.topK() > 0 ? group.topK() : group.experts(),
                        Math.max(1, group.alignment()));
    }

    /** Every token comes to this rank: once in FLAT, else once for each expert it can have here, zones padded. */
    static long worstCaseRows(GroupShape group, LsaTeams teams, @Nullable Layout layout, int topK, long alignment) {
        long tokens = (long) teams.ranks() * group.maxTokensPerRank();
        int localExperts = group.experts() / teams.ranks();
        boolean permute = ExpertMajorMode.of(group.zeroCopy(), teams) == ExpertMajorMode.LOCAL_PERMUTE;
        if (layout == Layout.FLAT && permute) {
            return tokens;
        }
        // The modes that duplicate rows demand a row for every top-k entry.
        long entries = product("received rows", tokens, permute ? Math.min(topK, localExperts) : topK);
        return layout == Layout.FLAT
                ? entries
                : alignUp(sum("received rows", entries, product("padding", localExperts, alignment - 1)), alignment);
    }

    static int number(String name, long value) {
        if (value > Integer.MAX_VALUE) {
            throw new IllegalArgumentException(name + ": " + value + " is more than 2^31 - 1");
        }
        return (int) value;
    }

    /** @throws IllegalArgumentException naming the product, if it is none of 63 bits */
    static long product(String name, long... factors) {
        long result = 1;
        for (long factor : factors) {
            if (factor < 0 || factor != 0 && result > Long.MAX_VALUE / factor) {
                throw tooLarge(name, " x ", factors);
            }
            result *= factor;
        }
        return result;
    }

    static long sum(String name, long... terms) {
        long result = 0;
        for (long term : terms) {
            if (term > Long.MAX_VALUE - result) {
                throw tooLarge(name, " + ", terms);
            }
            result += term;
        }
        return result;
    }

    private static IllegalArgumentException tooLarge(String name, String operator, long... values) {
        return new IllegalArgumentException(
                name + ": " + LongStream.of(values).mapToObj(Long::toString).collect(Collectors.joining(operator))
                        + " is not a number from 0 to 2^63 - 1");
    }

    static long alignUp(long value, long alignment) {
        if (value > Long.MAX_VALUE - alignment) {
            throw tooLarge("the next multiple of " + alignment, " + ", value, alignment);
        }
        return Math.ceilDiv(value, alignment) * alignment;
    }
}
