package io.nccl4j.benchmarks.bench;

import io.nccl4j.Backend;
import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.benchmarks.layer.RankLayer;
import io.nccl4j.benchmarks.layer.Traffic;
import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.benchmarks.ranks.RankThreads;
import io.nccl4j.benchmarks.stats.Median;
import io.nccl4j.benchmarks.stats.Span;
import io.nccl4j.oracle.Routing;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/**
 * How fast the emulator moves rows, and how fast the machine copies as many bytes from as many threads. The three take
 * turns, so that what disturbs one disturbs the others.
 */
final class DataPath {
    private static final Duration LIMIT = Duration.ofMinutes(10);
    private static final long SEED = 1;

    /**
     * The result of a shape.
     *
     * @param payload bytes that are delivered at each dispatch
     * @param memcpy bytes per second, medians of several rounds
     * @param dispatch likewise
     * @param combine likewise
     * @param dispatchVsMemcpy median of the rounds' ratios
     * @param combineVsMemcpy likewise
     */
    record Result(LayerShape shape, long payload, double memcpy, double dispatch, double combine,
            double dispatchVsMemcpy, double combineVsMemcpy) {
    }

    /** A rank's times in one round. */
    private record Round(Span memcpy, Span dispatch, Span combine) {
    }

    private final LayerShape shape;
    private final Routing routing;
    private final Traffic traffic;
    private final int rounds;
    private final int repeats;

    /**
     * @param rounds measured, after one for warming up
     * @param repeats of each operation in a round
     */
    DataPath(LayerShape shape, int rounds, int repeats) {
        this.shape = shape;
        this.rounds = rounds;
        this.repeats = repeats;
        routing = shape.routing(true, SEED);
        traffic = new Traffic(shape, routing);
    }

    Result measure() {
        List<List<Round>> ranks = RankThreads.run(Backend.EMULATOR, shape.sizes().ranks(), LIMIT, this::run);
        long payload = traffic.received() * shape.dispatchBytes();
        double bytes = (double) payload * repeats;
        double[] memcpy = new double[rounds];
        double[] dispatch = new double[rounds];
        double[] combine = new double[rounds];
        double[] dispatchRatio = new double[rounds];
        double[] combineRatio = new double[rounds];
        for (int i = 0; i < rounds; i++) {
            int round = i;
            List<Round> all = ranks.stream().map(rank -> rank.get(round)).toList();
            memcpy[i] = bytes / Span.seconds(all.stream().map(Round::memcpy).toList());
            dispatch[i] = bytes / Span.seconds(all.stream().map(Round::dispatch).toList());
            combine[i] = bytes / Span.seconds(all.stream().map(Round::combine).toList());
            dispatchRatio[i] = dispatch[i] / memcpy[i];
            combineRatio[i] = combine[i] / memcpy[i];
        }
        return new Result(shape, payload, Median.of(memcpy), Median.of(dispatch), Median.of(combine),
                Median.of(dispatchRatio), Median.of(combineRatio));
    }

    private List<Round> run(Rank rank) {
        try (RankLayer layer = new RankLayer(rank, shape, routing)) {
            long bytes = traffic.received(rank.number()) * shape.dispatchBytes();
            layer.update();
            List<Round> measured = new ArrayList<>();
            for (int round = 0; round <= rounds; round++) {
                Span dispatch = time(layer, layer::dispatch);
                Span memcpy = time(layer, () -> MemoryCopy.copy(layer.buffers().expertOutputs().address(),
                        layer.buffers().received().address(), bytes));
                Span combine = time(layer, layer::combine);
                if (round > 0) {
                    measured.add(new Round(memcpy, dispatch, combine));
                }
            }
            return measured;
        }
    }

    private Span time(RankLayer layer, Runnable operation) {
        layer.synchronize();
        layer.barrier();
        return Span.of(() -> {
            for (int i = 0; i < repeats; i++) {
                operation.run();
            }
            layer.synchronize();
        });
    }
}
