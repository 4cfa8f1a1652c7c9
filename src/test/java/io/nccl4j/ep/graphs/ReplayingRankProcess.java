package io.nccl4j.ep.graphs;

import io.nccl4j.bootstrap.BootstrapOptions;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.ep.graph.CachedGraph;
import io.nccl4j.ep.graph.GraphCache;
import io.nccl4j.ep.graph.GraphKey;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.CaseSpace;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;

/**
 * One rank in a process of its own: replays graphs of every algorithm and layout and compares them with eager runs and
 * the oracle. Arguments are a folder to meet in, the rank, the number of ranks and the seed of the cases. Prints a line
 * for everything that was right.
 */
public final class ReplayingRankProcess {
    private static final Duration LIMIT = Duration.ofSeconds(600);
    private static final int ODD_RANK = 3;

    private ReplayingRankProcess() {
    }

    /** The case that all processes of a test draw. */
    static EpCase draw(LayerKind kind, int ranks, CaseSeeds seeds) {
        CaseSpace space = kind.isLowLatency() ? kind.space(ranks).withHidden(512) : kind.space(ranks);
        return seeds.draw(space);
    }

    public static void main(String[] arguments) {
        Emulator.use();
        int number = Integer.parseInt(arguments[1]);
        int size = Integer.parseInt(arguments[2]);
        CaseSeeds seeds = new CaseSeeds(Long.parseUnsignedLong(arguments[3], 16));
        try (Bootstrap bootstrap = Bootstraps.file(Path.of(arguments[0]), number, size,
                BootstrapOptions.defaults().limit(LIMIT))) {
            CudaDevice device = CudaDevice.of(number);
            device.makeCurrent();
            EmulatedRank rank = new EmulatedRank(number, size, device, bootstrap);
            EmulatorUsage before = Emulator.usage();
            for (LayerKind kind : LayerKind.values()) {
                EpCase model = draw(kind, size, seeds);
                List<EpCase> batches = seeds.batches(model, ReplayProof.REPLAYS, kind.routings());
                ReplayProof.run(rank, kind, Quantisation.PLAIN, batches);
                System.out.println(kind + ": " + batches.size() + " replays verified");
                serve(rank, kind, batches.subList(0, 10));
                bootstrap.barrier();
            }
            System.out.println("left over: " + Emulator.usage().leakedSince(before));
        }
        System.out.println("done");
    }

    /** A cache whose ranks first disagree, which leaves nothing behind, then agree. */
    private static void serve(EmulatedRank rank, LayerKind kind, List<EpCase> batches) {
        EpCase model = batches.getFirst();
        GraphKey most = GraphKey.of(model.shape().maxTokens(), kind.layout());
        try (MoeRank self = MoeRank.of(rank, kind, model);
                MoeLayer layer = self.layer();
                GraphCache cache = GraphCache.create(rank.bootstrap(), self.stream(),
                        (key, on) -> layer.enqueue(key.tokens()))) {
            try {
                cache.capture(rank.rank() == ODD_RANK ? most.withTokens(most.tokens() + 1) : most);
            } catch (IllegalStateException e) {
                System.out.println(kind + ": refused: " + e.getMessage());
            }
            cache.capture(most);
            for (EpCase batch : batches) {
                layer.load(batch);
                layer.spoil();
                CachedGraph graph = cache.find(most, layer.count(batch));
                graph.launch(self.stream());
                self.await();
                layer.verify(batch, graph.key().tokens());
            }
        }
        System.out.println(kind + ": served from a cache");
    }
}
