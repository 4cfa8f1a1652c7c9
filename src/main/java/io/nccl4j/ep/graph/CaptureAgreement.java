package io.nccl4j.ep.graph;

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
     * @param subject what all of them tell, in a word or two: a rank that speaks of something else is out of step
     * @param failure why it cannot; empty if it can
     * @return what each rank told
     * @throws IllegalStateException if one cannot, which names all of them with their reasons, or is in another call
     */
    List<String> exchange(String subject, String what, String failure, String told) {
        String mine = subject + FIELD + failure.replace('\n', ' ') + FIELD + told;
        List<String> all = new ArrayList<>();
        StringBuilder failures = new StringBuilder();
        byte[][] given = bootstrap.allGather(mine.getBytes(StandardCharsets.UTF_8));
        for (int rank = 0; rank < given.length; rank++) {
            String[] fields = new String(given[rank], StandardCharsets.UTF_8).split(FIELD, 3);
            if (fields.length < 3 || !fields[0].equals(subject)) {
                throw new IllegalStateException(what + ": rank " + rank
                        + " is in another call on the bootstrap, the ranks do not make the same calls in the same "
                        + "order");
            }
            if (!fields[1].isEmpty()) {
                failures.append(failures.isEmpty() ? "" : "; ").append("rank ").append(rank).append(": ")
                        .append(fields[1]);
            }
            all.add(fields[2]);
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
