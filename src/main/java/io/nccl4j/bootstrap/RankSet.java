package io.nccl4j.bootstrap;

import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.function.IntPredicate;

/** Ranks as messages name them. */
final class RankSet {
    private static final int NAMED = 16;

    private RankSet() {
    }

    /** Those of {@code size} ranks for which {@code included} holds, such as {@code ranks 1, 4 and 5}. */
    static String describe(int size, IntPredicate included) {
        List<String> ranks = IntStream.range(0, size).filter(included).mapToObj(Integer::toString).toList();
        if (ranks.isEmpty()) {
            return "no rank";
        }
        if (ranks.size() == 1) {
            return "rank " + ranks.getFirst();
        }
        if (ranks.size() > NAMED) {
            return "ranks " + ranks.stream().limit(NAMED).collect(Collectors.joining(", ")) + " and "
                    + (ranks.size() - NAMED)
                    + " more";
        }
        return "ranks " + ranks.stream().limit(ranks.size() - 1L).collect(Collectors.joining(", ")) + " and "
                + ranks.getLast();
    }
}
