package io.nccl4j.safety;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import io.nccl4j.processes.ChildJvm;
import io.nccl4j.testing.LayerKind;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/**
 * Many replays with new routing each, while handles come and go: nothing grows. {@code -Dsoak.replays=100000} for a
 * long run, {@code -Dsoak.seed} to repeat one.
 */
class SoakTest {
    private static final int REPLAYS = 2_000;
    /** Against hangs alone: a tenth of what two cores of their own do. */
    private static final int REPLAYS_PER_MINUTE = 500;
    private static final int LIMIT_MINUTES = 15;
    /** Memory that the JVM itself may take: compiled code, stacks, what its allocator keeps. */
    private static final long MOST_GROWTH_KILOBYTES = 16 << 10;
    private static final Pattern LINE = Pattern
            .compile("soak (\\w+) replays (\\d+) compared (\\d+) handles (\\d+) (device \\S+ pinned "
                    + "\\d+ graphs \\d+) resident (\\d+)");

    @Test
    void replaysLeaveNothingBehind() {
        int replays = Integer.getInteger("soak.replays", REPLAYS);
        String seed = System.getProperty("soak.seed", Long.toHexString(new SplittableRandom().nextLong()));
        System.out.println("soak of " + replays + " replays, seed " + seed);
        assertTimeoutPreemptively(Duration.ofMinutes(LIMIT_MINUTES + replays / REPLAYS_PER_MINUTE),
                () -> run(replays, seed));
    }

    private static void run(int replays, String seed) throws Exception {
        // A heap of one size, in memory from the beginning: what grows then is not garbage.
        try (ChildJvm child = ChildJvm.start(SoakProcess.class,
                Map.of("JDK_JAVA_OPTIONS", "-Xms128m -Xmx128m -XX:+AlwaysPreTouch", "MALLOC_ARENA_MAX", "2"),
                String.valueOf(replays), seed)) {
            String said = child.awaitEnd();
            System.out.println(said);
            assertThat(said).contains("left [], never closed 0").endsWith("done");
            assertThat(child.exitCode()).isZero();
            Map<String, List<MatchResult>> parts = LINE.matcher(said).results()
                    .collect(Collectors.groupingBy(line -> line.group(1)));
            assertThat(parts).hasSize(LayerKind.values().length);
            parts.forEach((shape, lines) -> {
                assertThat(lines).hasSizeGreaterThanOrEqualTo(10);
                assertThat(lines).extracting(line -> line.group(5)).as("alive in %s", shape)
                        .containsOnly(lines.getFirst().group(5));
                // The first parts are those in which code is loaded and compiled.
                long before = Long.parseLong(lines.get(3).group(6));
                assertThat(Long.parseLong(lines.getLast().group(6)) - before).as("growth of %s in kilobytes", shape)
                        .isLessThan(MOST_GROWTH_KILOBYTES);
            });
        }
    }
}
