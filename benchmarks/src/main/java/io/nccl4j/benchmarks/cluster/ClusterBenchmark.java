package io.nccl4j.benchmarks.cluster;

import io.nccl4j.Backend;
import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.benchmarks.layer.DrawnRouting;
import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.benchmarks.layer.RankLayer;
import io.nccl4j.benchmarks.layer.Traffic;
import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.benchmarks.ranks.RankThreads;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.nccl.Bootstrap;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/** Latency and bandwidth of dispatch and combine: the ranks are threads, or this process is one of them. */
public final class ClusterBenchmark {
    private static final Duration LIMIT = Duration.ofHours(1);

    private final ClusterOptions options;
    private final Backend backend;

    /** @param backend already chosen for this JVM */
    public ClusterBenchmark(ClusterOptions options, Backend backend) {
        this.options = options;
        this.backend = backend;
    }

    /**
     * Runs it; rank 0 prints.
     *
     * @return 0, or 1 if a row is wrong
     */
    public int run(Usage usage) {
        String worldSize = System.getenv("WORLD_SIZE");
        boolean isProcess = worldSize != null && System.getenv("RANK") != null;
        options.check(usage, isProcess ? Integer.parseInt(worldSize) : options.ranks());
        if (options.needsFp4(backend)) {
            Emulator.options().computeCapability(100);
        }
        try {
            if (isProcess) {
                runProcess();
            } else {
                List<List<Figures>> figures = RankThreads.run(backend, options.ranks(), LIMIT, this::measure);
                System.out.print(ClusterReport.of(options.format(), figures.getFirst()));
            }
            return 0;
        } catch (RuntimeException e) {
            ValidationException wrong = Stream.<Throwable>iterate(e, cause -> cause != null, Throwable::getCause)
                    .filter(ValidationException.class::isInstance).map(ValidationException.class::cast).findFirst()
                    .orElseThrow(() -> e);
            System.err.println("wrong result: " + wrong.getMessage());
            return 1;
        }
    }

    private void runProcess() {
        try (Bootstrap bootstrap = Bootstraps.fromEnvironment()) {
            CudaDevice device = CudaDevice.of(bootstrap.localRank());
            device.makeCurrent();
            List<Figures> figures = measure(new Rank(bootstrap.rank(), bootstrap.size(), device, bootstrap));
            if (bootstrap.rank() == 0) {
                System.out.print(ClusterReport.of(options.format(), figures));
            }
        }
    }

    /** A rank's part; every rank gets the figures of all. */
    private List<Figures> measure(Rank rank) {
        List<Figures> figures = new ArrayList<>();
        for (LayerShape shape : options.shapes(rank.size())) {
            DrawnRouting routing = new DrawnRouting(shape, options.isUniform(), options.seed());
            Traffic traffic = new Traffic(routing);
            try (RankLayer layer = new RankLayer(rank, routing); LayerTimer timer = new LayerTimer(layer)) {
                if (options.isValidated()) {
                    new LayerValidation(layer, routing).run();
                }
                for (CallMode mode : options.modes(shape)) {
                    Samples mine = timer.measure(mode, options.warmUp(), options.iterations());
                    List<Samples> all = new ArrayList<>();
                    for (byte[] bytes : rank.bootstrap().allGather(mine.encode())) {
                        all.add(Samples.decode(bytes, options.iterations()));
                    }
                    figures.addAll(Figures.of(shape, mode, traffic, all));
                }
            }
        }
        return figures;
    }
}
