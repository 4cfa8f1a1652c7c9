package io.nccl4j.benchmarks.cluster;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraries;
import io.nccl4j.benchmarks.cli.OutputOption;
import io.nccl4j.benchmarks.cli.Usage;
import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.benchmarks.layer.RankLayer;
import io.nccl4j.benchmarks.layer.Traffic;
import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.benchmarks.ranks.RankThreads;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.Mismatch;
import io.nccl4j.oracle.Routing;
import io.nccl4j.testing.ExpertFunction;
import io.nccl4j.testing.MoeLayer;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Stream;

/** Latency and bandwidth of dispatch and combine: the ranks are threads, or this process is one of them. */
public final class ClusterBenchmark {
    private static final Duration LIMIT = Duration.ofHours(1);

    private final ClusterOptions options;
    private final OutputOption output;
    private final HtmlOption html;
    private final Backend backend;
    /** Drawn once for all ranks of this process. */
    private final Map<LayerShape, EpCase> batches = new ConcurrentHashMap<>();

    /** @param backend already chosen for this JVM */
    public ClusterBenchmark(ClusterOptions options, OutputOption output, HtmlOption html, Backend backend) {
        this.options = options;
        this.output = output;
        this.html = html;
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
        html.check(usage);
        List<LayerShape> shapes = html
                .sweep(options.shapes(usage, isProcess ? Integer.parseInt(worldSize) : options.ranks()));
        options.use(backend, usage);
        if (options.needsFp4(backend)) {
            Emulator.options().computeCapability(100);
        }
        try {
            if (isProcess) {
                runProcess(shapes);
            } else {
                List<List<Figures>> figures = RankThreads.run(backend, options.ranks(), LIMIT,
                        rank -> measure(rank, shapes));
                print(shapes, figures.getFirst());
            }
            return 0;
        } catch (RuntimeException e) {
            Mismatch wrong = Stream.<Throwable>iterate(e, cause -> cause != null, Throwable::getCause)
                    .filter(Mismatch.class::isInstance).map(Mismatch.class::cast).findFirst().orElseThrow(() -> e);
            System.err.println("wrong result: " + wrong.getMessage());
            return 1;
        }
    }

    private void runProcess(List<LayerShape> shapes) {
        try (Bootstrap bootstrap = Bootstraps.fromEnvironment()) {
            CudaDevice device = CudaDevice.of(bootstrap.localRank());
            device.makeCurrent();
            List<Figures> figures = measure(new Rank(bootstrap.rank(), bootstrap.size(), device, bootstrap), shapes);
            if (bootstrap.rank() == 0) {
                print(shapes, figures);
            }
        }
    }

    private void print(List<LayerShape> shapes, List<Figures> figures) {
        System.out.print(ClusterReport.of(options.format(output), figures));
        html.write(facts(shapes.getFirst()), figures);
    }

    private Map<String, String> facts(LayerShape shape) {
        Map<String, String> facts = new LinkedHashMap<>();
        facts.put("backend", backend.name().toLowerCase(Locale.ROOT)
                + (backend == Backend.EMULATOR ? ": says nothing about a GPU" : ""));
        facts.put("libraries", NativeLibraries.describe());
        facts.put("ranks", Integer.toString(shape.sizes().ranks()));
        facts.put("layer", shape.sizes().experts() + " experts, top-" + shape.sizes().topK() + ", "
                + shape.rows().type() + " x " + shape.rows().hidden());
        facts.put("iterations", options.iterations() + ", after " + options.warmUp() + " that do not count");
        facts.put("made", Instant.now().truncatedTo(ChronoUnit.SECONDS).toString());
        return facts;
    }

    /** A rank's part; every rank gets the figures of all. */
    private List<Figures> measure(Rank rank, List<LayerShape> shapes) {
        List<Figures> figures = new ArrayList<>();
        for (LayerShape shape : shapes) {
            Routing routing = shape.routing(options.isUniform(), options.seed());
            Traffic traffic = new Traffic(shape, routing);
            try (RankLayer layer = new RankLayer(rank, shape, routing); LayerTimer timer = new LayerTimer(layer)) {
                if (options.isValidated()) {
                    validate(layer, shape);
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

    /** One dispatch and one combine on the routing that is measured, every row compared with the oracle. */
    private void validate(RankLayer layer, LayerShape shape) {
        EpCase batch = batches.computeIfAbsent(shape, drawn -> drawn.batch(options.isUniform(), options.seed()));
        try (MoeLayer checked = new MoeLayer(layer.buffers(), ExpertFunction.scaling(), layer.stream())) {
            checked.load(batch);
            layer.update();
            layer.dispatch();
            checked.experts();
            layer.combine();
            layer.synchronize();
            checked.verify(batch);
        }
    }
}
