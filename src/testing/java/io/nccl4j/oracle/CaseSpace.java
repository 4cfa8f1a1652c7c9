package io.nccl4j.oracle;

import java.util.List;

/**
 * The range that random cases are drawn from.
 *
 * @param minRanks fewest ranks
 * @param maxRanks most ranks
 * @param maxLocalExperts most experts per rank
 * @param maxTopK most experts per token
 * @param maxTokens most tokens per rank
 * @param hidden the row lengths to choose from, in elements
 * @param formats the token formats to choose from
 * @param routings the kinds of routing to choose from
 * @param fours whether experts of a team, tokens times ranks of a team, and tokens times topK must be multiples of
 *     four, as the high-throughput algorithm demands
 * @param powersOfTwo whether experts per rank must be a power of two, as the modes that duplicate rows demand
 * @param teams LSA teams that the ranks are in
 */
public record CaseSpace(int minRanks, int maxRanks, int maxLocalExperts, int maxTopK, int maxTokens,
        List<Integer> hidden, List<NumberFormat> formats, List<RoutingKind> routings, boolean fours,
        boolean powersOfTwo, int teams) {

    private static final List<NumberFormat> TOKEN_FORMATS = List.of(NumberFormat.BFLOAT16, NumberFormat.FLOAT16,
            NumberFormat.FLOAT32);

    /** Cases of the low-latency algorithm, which combines rows of a multiple of 512 elements. */
    public static CaseSpace lowLatency(int maxRanks) {
        return new CaseSpace(1, maxRanks, 6, 8, 24, List.of(512, 1024, 1536), TOKEN_FORMATS,
                List.of(RoutingKind.values()), false, false, 1);
    }

    /** Cases of the high-throughput algorithm. */
    public static CaseSpace highThroughput(int maxRanks) {
        return new CaseSpace(1, maxRanks, 6, 8, 48, List.of(8, 24, 64, 200, 512), TOKEN_FORMATS,
                List.of(RoutingKind.values()), true, false, 1);
    }

    /** The same range with exactly that number of ranks. */
    public CaseSpace withRanks(int ranks) {
        return new CaseSpace(ranks, ranks, maxLocalExperts, maxTopK, maxTokens, hidden, formats, routings, fours,
                powersOfTwo, teams);
    }

    /** The same range with one token format. */
    public CaseSpace withFormat(NumberFormat format) {
        return new CaseSpace(minRanks, maxRanks, maxLocalExperts, maxTopK, maxTokens, hidden, List.of(format), routings,
                fours, powersOfTwo, teams);
    }

    /** The same range with the given row lengths. */
    public CaseSpace withHidden(Integer... lengths) {
        return new CaseSpace(minRanks, maxRanks, maxLocalExperts, maxTopK, maxTokens, List.of(lengths), formats,
                routings, fours, powersOfTwo, teams);
    }

    /** The same range with the given kinds of routing. */
    public CaseSpace withRoutings(RoutingKind... kinds) {
        return new CaseSpace(minRanks, maxRanks, maxLocalExperts, maxTopK, maxTokens, hidden, formats, List.of(kinds),
                fours, powersOfTwo, teams);
    }

    /** The same range with experts per rank a power of two. */
    public CaseSpace withPowersOfTwo() {
        return new CaseSpace(minRanks, maxRanks, maxLocalExperts, maxTopK, maxTokens, hidden, formats, routings, fours,
                true, teams);
    }

    /** The same range with the ranks in so many teams, equally many in each. */
    public CaseSpace withTeams(int count) {
        return new CaseSpace(minRanks, maxRanks, maxLocalExperts, maxTopK, maxTokens, hidden, formats, routings, fours,
                powersOfTwo, count);
    }

    boolean allows(EpShape shape) {
        boolean divisible = !fours || shape.localExperts() * shape.teamSize() % 4 == 0
                && shape.maxTokens() * shape.teamSize() % 4 == 0 && shape.maxTokens() * shape.topK() % 4 == 0;
        return divisible && shape.experts() >= 2 && shape.topK() <= shape.experts()
                && (!powersOfTwo || Integer.bitCount(shape.localExperts()) == 1);
    }
}
