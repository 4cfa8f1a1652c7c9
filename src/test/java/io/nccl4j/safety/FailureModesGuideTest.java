package io.nccl4j.safety;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.guide.NamedTests;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** docs/failure-modes.md has every entry, each with a test that carries its name, and the tests that it names exist. */
class FailureModesGuideTest {
    private static final Pattern ENTRY = Pattern
            .compile("(?ms)^\\*\\*([A-Z]\\d+)\\. .*?<br>\nTests?: (.*?)(?:\n\n|\\z)");
    private static final Pattern TEST = Pattern.compile("`([\\w.]+)`");

    /** F: failure modes; R, U, H, N, A: what was tried. R1, for one, is not about this library. */
    private static List<String> lines() {
        return Stream
                .of(numbers("F", 24), Stream.of("R2", "R3", "R6", "R7"), numbers("R", 9, 13), numbers("R", 15, 17),
                        Stream.of("R20"), numbers("U", 7), numbers("H", 17), numbers("N", 6), numbers("A", 5))
                .flatMap(all -> all).toList();
    }

    private static Stream<String> numbers(String kind, int last) {
        return numbers(kind, 1, last);
    }

    private static Stream<String> numbers(String kind, int first, int last) {
        return IntStream.rangeClosed(first, last).mapToObj(number -> kind + number);
    }

    private static Map<String, List<String>> entries() throws IOException {
        Map<String, List<String>> entries = new TreeMap<>();
        for (MatchResult entry : ENTRY.matcher(Files.readString(Path.of("docs/failure-modes.md"))).results().toList()) {
            List<String> tests = TEST.matcher(entry.group(2)).results().map(test -> test.group(1)).toList();
            assertThat(entries.put(entry.group(1), tests)).as("one entry for %s", entry.group(1)).isNull();
        }
        return entries;
    }

    @Test
    void everyEntryHasATestOfItsName() throws Exception {
        Map<String, List<String>> entries = entries();
        assertThat(entries.keySet()).containsExactlyInAnyOrderElementsOf(lines());
        NamedTests tests = new NamedTests();
        entries.forEach((line, named) -> {
            // f01SomeName for F1, h1SomeName or Suite.H1SomeName for H1.
            Pattern own = Pattern.compile("(?:^|\\.)(?i:" + line.charAt(0) + "0?)" + line.substring(1) + "[A-Z]");
            assertThat(named).as(line).anyMatch(test -> own.matcher(test).find());
            assertThat(named).as(line).allMatch(tests::exists);
        });
    }
}
