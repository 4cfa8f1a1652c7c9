package io.nccl4j.benchmarks.bench;

import io.nccl4j.Backend;
import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.benchmarks.layer.RankLayer;
import io.nccl4j.benchmarks.layer.Traffic;
import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.benchmarks.ranks.RankThreads;
import io.nccl4j.oracle.Routing;
import java.time.Duration;

/** The processor time of a delivered row, in a run of dispatches and combines. */
final class ScalePoint {
    private static final Duration LIMIT = Duration.ofMinutes(5);
    private static final long SEED = 1;
    private static final int WARM_UP = 3;

    private final LayerShape shape;
    private final Routing routing;
    private final int steps;

    /** @param steps measured; a dispatch and a combine each */
    ScalePoint(LayerShape shape, int steps) {
        this.shape = shape;
        this.steps = steps;
        routing = shape.routing(true, SEED);
    }

    /** Nanoseconds of processor time per delivered row, of all threads of this process. */
    double measure() {
        long nanos = RankThreads.run(Backend.EMULATOR, shape.sizes().ranks(), LIMIT, this::run).getFirst();
        return (double) nanos / steps / new Traffic(shape, routing).received();
    }

    private long run(Rank rank) {
        try (RankLayer layer = new RankLayer(rank, shape, routing)) {
            layer.update();
            steps(layer, WARM_UP);
            layer.barrier();
            long before = ProcessorTime.nanos();
            // Nobody starts before all have looked at the clock, nor looks at it before all have ended.
            layer.barrier();
            steps(layer, steps);
            layer.barrier();
            return ProcessorTime.nanos() - before;
        }
    }

    private static void steps(RankLayer layer, int count) {
        for (int i = 0; i < count; i++) {
            layer.dispatch();
            layer.combine();
        }
        layer.synchronize();
    }
}
