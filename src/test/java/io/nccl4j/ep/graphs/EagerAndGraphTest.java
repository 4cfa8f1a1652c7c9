package io.nccl4j.ep.graphs;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EpApi;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.RoutingKind;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A graph gives what eager calls give, and both what the oracle says, for whatever lies in the buffers at replay. */
class EagerAndGraphTest {
    private static final int RANKS = 4;
    private static final int REPLAYS = 50;

    private final CaseSeeds seeds = CaseSeeds.fresh();

    @ParameterizedTest
    @EnumSource(LayerKind.class)
    @EmulatedRanks(value = RANKS, limitSeconds = 240)
    void everyReplayEqualsAnEagerRun(LayerKind kind, EmulatedCluster cluster) {
        List<EpCase> batches = batches(EpCase.draw(kind.space(RANKS), seeds.first(1).findFirst().orElseThrow()), kind);
        cluster.run(rank -> replay(rank, kind, batches));
    }

    @ParameterizedTest
    @EnumSource(LayerKind.class)
    @EmulatedRanks(value = RANKS, limitSeconds = 240)
    void everyReplayEqualsAnEagerRunOnRelease010(LayerKind kind, EmulatedCluster cluster) {
        Emulator.options().api(EpApi.RELEASE_0_1_0);
        EpCase model = seeds.first(1000)
                .mapToObj(seed -> EpCase.draw(
                        kind.space(RANKS).withFormat(NumberFormat.BFLOAT16).withHidden(2048).withPowersOfTwo(), seed))
                .filter(some -> some.shape().maxTokens() * some.shape().localExperts() % 4 == 0).findFirst()
                .orElseThrow();
        List<EpCase> batches = batches(model, kind);
        cluster.run(rank -> replay(rank, kind, batches));
    }

    private List<EpCase> batches(EpCase model, LayerKind kind) {
        System.out.println(kind + ", series " + seeds + ", " + model);
        List<EpCase> batches = new ArrayList<>();
        RoutingKind[] routings = kind.routings();
        seeds.first(REPLAYS)
                .forEach(seed -> batches.add(model.redraw(routings[batches.size() % routings.length], seed)));
        return batches;
    }

    private static void replay(EmulatedRank rank, LayerKind kind, List<EpCase> batches) {
        EpCase model = batches.getFirst();
        int maxTokens = model.shape().maxTokens();
        int rowBytes = model.hidden() * model.format().bytes();
        TreeSet<Integer> buckets = new TreeSet<>(
                List.of(Math.ceilDiv(maxTokens, 4), Math.ceilDiv(maxTokens, 2), maxTokens));
        try (MoeRank self = new MoeRank(rank, kind, model); MoeLayer layer = self.layer()) {
            layer.handle().warmUp(layer.buffers(), maxTokens, self.stream());
            List<CudaGraphExec> graphs = new ArrayList<>();
            try {
                for (int tokens : buckets) {
                    try (CudaGraph graph = self.stream().capture(() -> layer.enqueue(tokens, self.stream()))) {
                        graphs.add(graph.instantiate());
                    }
                }
                for (int i = 0; i < batches.size(); i++) {
                    EpCase batch = batches.get(i);
                    int tokens = layer.tokens(batch);
                    int bucket = buckets.ceiling(tokens);
                    layer.load(batch, self.stream());
                    layer.spoil();
                    // Other ranks may have another T in the same step, and eager runs stand between those of graphs.
                    int eagerTokens = i % 2 == 0 ? tokens : bucket;
                    layer.enqueue(eagerTokens, self.stream());
                    LayerResult eager = layer.result(eagerTokens);
                    layer.spoil();
                    graphs.get(buckets.headSet(bucket).size()).launch(self.stream());
                    LayerResult replayed = layer.result(bucket);
                    layer.verify(batch, eager);
                    layer.verify(batch, replayed);
                    eager.verifySame(replayed, kind, tokens, rowBytes, model.shape().topK());
                }
            } finally {
                graphs.forEach(CudaGraphExec::close);
            }
        }
    }
}
