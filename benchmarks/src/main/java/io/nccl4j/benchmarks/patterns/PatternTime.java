package io.nccl4j.benchmarks.patterns;

import io.nccl4j.Backend;
import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.benchmarks.layer.RankLayer;
import io.nccl4j.benchmarks.layer.Traffic;
import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.benchmarks.ranks.RankThreads;
import io.nccl4j.benchmarks.stats.Median;
import io.nccl4j.oracle.Routing;
import io.nccl4j.testing.HostMirror;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.ToDoubleFunction;
import java.util.stream.IntStream;

/**
 * How long a layer takes in steps that follow each other without a pause, every token routed at random to different
 * experts.
 *
 * @param shape of the step
 * @param ranks number of ranks
 * @param tokens of each rank
 * @param pattern how the step is made
 * @param microsPerLayer of the slowest rank, median of several rounds
 * @param hostMicrosPerLayer that the host takes to enqueue a step on an idle device, likewise
 */
record PatternTime(PatternShape shape, int ranks, int tokens, Patterns pattern, double microsPerLayer,
        double hostMicrosPerLayer) {
    private static final Duration LIMIT = Duration.ofMinutes(10);
    private static final int ROUNDS = 10;

    /** Steps between two meetings of the ranks. */
    private record Round(double micros, double hostMicros) {
    }

    /**
     * Measures all patterns, each after as many steps for warming up.
     *
     * @param steps of each that count
     * @throws IllegalStateException if a step did not move the tokens that were routed
     */
    static List<PatternTime> measure(Backend backend, int ranks, PatternShape shape, int tokens, int kernels,
            int steps) {
        LayerShape layer = shape.layer(ranks, tokens);
        Routing routing = layer.routing(true, 1);
        List<List<List<Round>>> byRank = RankThreads.run(backend, ranks, LIMIT,
                rank -> measure(rank, layer, routing, shape.layers(), kernels, steps));
        List<PatternTime> times = new ArrayList<>();
        for (Patterns pattern : Patterns.values()) {
            List<List<Round>> rounds = byRank.stream().map(rank -> rank.get(pattern.ordinal())).toList();
            times.add(new PatternTime(shape, ranks, tokens, pattern, slowest(rounds, Round::micros),
                    slowest(rounds, Round::hostMicros)));
        }
        return times;
    }

    private static double slowest(List<List<Round>> byRank, ToDoubleFunction<Round> time) {
        return Median
                .of(IntStream.range(0, ROUNDS)
                        .mapToDouble(round -> byRank.stream()
                                .mapToDouble(rounds -> time.applyAsDouble(rounds.get(round))).max().orElseThrow())
                        .toArray());
    }

    private static List<List<Round>> measure(Rank rank, LayerShape shape, Routing routing, int layers, int kernels,
            int steps) {
        long expected = new Traffic(shape, routing).received(rank.number());
        List<List<Round>> patterns = new ArrayList<>();
        RankLayer layer = new RankLayer(rank, shape, routing);
        try (LayerWork work = new LayerWork(layer, kernels)) {
            for (Patterns pattern : Patterns.values()) {
                work.buffers.expertCounts().memory().fillAsync((byte) 0, work.stream);
                try (StepPattern step = pattern.make(work, layers)) {
                    rounds(step, layer, layers, steps);
                    patterns.add(rounds(step, layer, layers, steps));
                }
                check(pattern, received(work), expected);
            }
        }
        return patterns;
    }

    private static List<Round> rounds(StepPattern step, RankLayer layer, int layers, int steps) {
        List<Round> rounds = new ArrayList<>();
        int perRound = Math.max(1, steps / ROUNDS);
        for (int round = 0; round < ROUNDS; round++) {
            layer.synchronize();
            layer.barrier();
            long begin = System.nanoTime();
            step.enqueue();
            long enqueued = System.nanoTime();
            for (int i = 1; i < perRound; i++) {
                step.enqueue();
            }
            layer.synchronize();
            double micros = (System.nanoTime() - begin) / 1e3;
            rounds.add(new Round(micros / perRound / layers, (enqueued - begin) / 1e3 / layers));
        }
        return rounds;
    }

    private static long received(LayerWork work) {
        try (HostMirror counts = new HostMirror(work.buffers.expertCounts())) {
            counts.toHost(work.stream);
            work.stream.synchronize();
            MemorySegment host = counts.host();
            return Arrays.stream(host.toArray(ValueLayout.JAVA_INT)).asLongStream().sum();
        }
    }

    /** Steps without tokens are fast. */
    private static void check(Patterns pattern, long received, long expected) {
        if (received != expected) {
            throw new IllegalStateException(
                    pattern.title() + ": " + received + " rows arrived, " + expected + " were routed here");
        }
    }
}
