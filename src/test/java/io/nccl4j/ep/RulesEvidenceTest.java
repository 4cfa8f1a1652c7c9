package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.guide.NamedTests;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** docs/evidence/rules.md has a line for each way in which NCCL EP ends a process, and names what exists. */
class RulesEvidenceTest {
    /** How many there are in each section of the list. */
    private static final Map<String, Integer> MARKS = Map.ofEntries(Map.entry("0", 4), Map.entry("1.2", 1),
            Map.entry("1.3", 1), Map.entry("1.6", 6), Map.entry("2.0", 8), Map.entry("2.4", 1), Map.entry("2.5", 3),
            Map.entry("2.6", 11), Map.entry("2.7", 11), Map.entry("2.8", 3), Map.entry("2.10", 10),
            Map.entry("2.11", 12), Map.entry("3.1", 19), Map.entry("3.3", 1), Map.entry("3.4", 1), Map.entry("3.5", 3),
            Map.entry("3.7", 1), Map.entry("3.10", 1), Map.entry("4.5", 2), Map.entry("4.7", 1), Map.entry("5.1", 1),
            Map.entry("5.2", 2), Map.entry("5.3", 2), Map.entry("5.7.4", 1), Map.entry("5.8", 2), Map.entry("5.10", 2),
            Map.entry("7.1", 5), Map.entry("7.2", 1), Map.entry("8.1", 2), Map.entry("8.2", 4), Map.entry("8.3", 5),
            Map.entry("8.4", 3), Map.entry("8.5", 1), Map.entry("A", 4), Map.entry("A.2", 13), Map.entry("B.9", 4),
            Map.entry("B.10", 1), Map.entry("C", 6), Map.entry("T", 9));
    private static final Pattern ROW = Pattern
            .compile("(?m)^\\| ([\\w.]+)/(\\d+)(?:-(\\d+))? \\|([^|]+)\\|([^|]+)\\|(.+)\\|$");
    private static final Pattern NAME = Pattern.compile("`([^`]+)`");

    private record Row(String section, int first, int last, List<String> rules, String proof) {
        List<String> proofs() {
            return names(proof);
        }

        @Override
        public String toString() {
            return section + "/" + first;
        }
    }

    private static List<String> names(String cell) {
        return NAME.matcher(cell).results().map(name -> name.group(1)).toList();
    }

    private static List<Row> rows() throws IOException {
        List<Row> rows = new ArrayList<>();
        for (MatchResult row : ROW.matcher(Files.readString(Path.of("docs/evidence/rules.md"))).results().toList()) {
            int first = Integer.parseInt(row.group(2));
            rows.add(new Row(row.group(1), first, row.group(3) == null ? first : Integer.parseInt(row.group(3)),
                    names(row.group(5)), row.group(6)));
        }
        return rows;
    }

    @Test
    void everyMarkHasOneLine() throws IOException {
        Map<String, List<Integer>> told = new TreeMap<>();
        for (Row row : rows()) {
            IntStream.rangeClosed(row.first(), row.last())
                    .forEach(mark -> told.computeIfAbsent(row.section(), section -> new ArrayList<>()).add(mark));
        }
        assertThat(told.keySet()).containsExactlyInAnyOrderElementsOf(MARKS.keySet());
        MARKS.forEach((section, count) -> assertThat(told.get(section)).as(section)
                .containsExactlyElementsOf(IntStream.rangeClosed(1, count).boxed().toList()));
    }

    @Test
    void everyLineNamesARuleWithItsBreachOrAReason() throws IOException {
        Set<String> rules = Arrays.stream(Rule.values()).map(Rule::name).collect(Collectors.toSet());
        Set<String> breaches = RulesTest.breaches().map(Breach::toString).collect(Collectors.toSet());
        NamedTests tests = new NamedTests();
        for (Row row : rows()) {
            assertThat(rules).as("%s", row).containsAll(row.rules());
            for (String rule : row.rules()) {
                assertThat(row.proofs()).as("%s: a breach of %s", row, rule)
                        .anyMatch(proof -> proof.startsWith(rule + ": "));
            }
            for (String proof : row.proofs()) {
                assertThat(proof.contains(": ")
                        ? breaches.contains(proof)
                        : proof.matches("\\w+|\\w+\\(.*\\)") || tests.exists(proof)).as("%s: %s", row, proof).isTrue();
            }
            if (row.rules().isEmpty()) {
                assertThat(NAME.matcher(row.proof()).replaceAll("").strip()).as("%s: why there is no rule", row)
                        .hasSizeGreaterThan(6);
            }
        }
    }
}
