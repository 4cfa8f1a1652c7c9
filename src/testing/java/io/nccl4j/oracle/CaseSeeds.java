package io.nccl4j.oracle;

import java.util.SplittableRandom;
import java.util.stream.LongStream;

/**
 * The seeds of a series of random cases.
 *
 * @param seed the series; print it, and the series can be repeated
 */
public record CaseSeeds(long seed) {

    /** A new series, or the one that the system property {@code nccl4j.test.seed} (hexadecimal) names. */
    public static CaseSeeds fresh() {
        String given = System.getProperty("nccl4j.test.seed");
        return new CaseSeeds(given == null ? new SplittableRandom().nextLong() : Long.parseUnsignedLong(given, 16));
    }

    /** The first {@code count} seeds of the series. */
    public LongStream first(int count) {
        return new SplittableRandom(seed).longs(count);
    }

    /** The seed in the form that {@code nccl4j.test.seed} takes. */
    @Override
    public String toString() {
        return Long.toHexString(seed);
    }
}
