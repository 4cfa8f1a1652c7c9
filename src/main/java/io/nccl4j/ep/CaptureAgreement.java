package io.nccl4j.ep;

import io.nccl4j.nccl.Bootstrap;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** How ranks agree on captures over their bootstrap: all go on with the same, or all throw the same. */
final class CaptureAgreement {
    private static final String FIELD = "\n";

    private final Bootstrap bootstrap;

    CaptureAgreement(Bootstrap bootstrap) {
        this.bootstrap = bootstrap;
    }

    /**
     * Tells the other ranks whether this one can go on, and something more.
     *
     * @param failure why it cannot; empty if it can
     * @return what each rank told
     * @throws IllegalStateException if one cannot; names all of them with their reasons
     */
    List<String> exchange(String what, String failure, String told) {
        String mine = failure.replace('\n', ' ') + FIELD + told;
        List<String> all = new ArrayList<>();
        StringBuilder failures = new StringBuilder();
        byte[][] given = bootstrap.allGather(mine.getBytes(StandardCharsets.UTF_8));
        for (int rank = 0; rank < given.length; rank++) {
            String[] fields = new String(given[rank], StandardCharsets.UTF_8).split(FIELD, 2);
            if (!fields[0].isEmpty()) {
                failures.append(failures.isEmpty() ? "" : "; ").append("rank ").append(rank).append(": ")
                        .append(fields[0]);
            }
            all.add(fields[1]);
        }
        if (!failures.isEmpty()) {
            throw new IllegalStateException(
                    what + " failed on some ranks, so there is no new graph on any: " + failures);
        }
        return all;
    }

    /** @throws IllegalStateException unless all ranks say the same; names who says what */
    static void checkSame(String what, List<String> said) {
        Map<String, List<Integer>> ranks = new LinkedHashMap<>();
        for (int rank = 0; rank < said.size(); rank++) {
            ranks.computeIfAbsent(said.get(rank), text -> new ArrayList<>()).add(rank);
        }
        if (ranks.size() > 1) {
            throw new IllegalStateException("the ranks do not agree on " + what + ": " + ranks.entrySet().stream()
                    .map(e -> (e.getValue().size() == 1 ? "rank " : "ranks ")
                            + e.getValue().stream().map(String::valueOf).collect(Collectors.joining(", ")) + ": "
                            + (e.getKey().isEmpty() ? "none" : e.getKey()))
                    .collect(Collectors.joining("; ")));
        }
    }
}
