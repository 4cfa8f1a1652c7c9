package io.nccl4j.oracle;

import java.util.ArrayList;
import java.util.List;
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

    /** The same, told with the name of the test. */
    public static CaseSeeds fresh(String test) {
        CaseSeeds seeds = fresh();
        System.out.println(test + " seed " + seeds);
        return seeds;
    }

    /** The first case of the series in a space, told so that it can be repeated. */
    public EpCase draw(CaseSpace space) {
        EpCase drawn = EpCase.draw(space, first(1).findFirst().orElseThrow());
        System.out.println("series " + this + ", " + drawn);
        return drawn;
    }

    /** So many batches of a case's shape, each with other tokens and weights, the kinds of routing in turn. */
    public List<EpCase> batches(EpCase model, int count, RoutingKind... routings) {
        List<EpCase> batches = new ArrayList<>();
        first(count).forEach(drawn -> batches.add(model.redraw(routings[batches.size() % routings.length], drawn)));
        return batches;
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
