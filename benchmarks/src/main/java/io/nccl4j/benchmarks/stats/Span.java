package io.nccl4j.benchmarks.stats;

import java.util.List;

/**
 * When something began and ended.
 *
 * @param start of {@link System#nanoTime}
 * @param end likewise
 */
public record Span(long start, long end) {

    /** Runs {@code action} and says when. */
    public static Span of(Runnable action) {
        long start = System.nanoTime();
        action.run();
        return new Span(start, System.nanoTime());
    }

    /** Seconds from the first start to the last end. */
    public static double seconds(List<Span> spans) {
        long start = spans.stream().mapToLong(Span::start).min().orElseThrow();
        long end = spans.stream().mapToLong(Span::end).max().orElseThrow();
        return (end - start) / 1e9;
    }
}
