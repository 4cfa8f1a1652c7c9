package io.nccl4j.ep.graphs;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.graph.CachedGraph;
import io.nccl4j.ep.graph.GraphCache;
import io.nccl4j.ep.graph.GraphKey;
import io.nccl4j.ep.graph.GraphStep;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.ExpertFunction;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/** One cache for graphs of several recipes, each on buffers of its own, all on one handle. */
class GraphCacheRecipesTest {
    private static final int RANKS = 3;

    private final CaseSeeds seeds = CaseSeeds.fresh();

    /** The layers of a rank by the recipe of their dispatch. */
    private record Layers(Map<DispatchRecipe, MoeLayer> layers) implements GraphStep, AutoCloseable {

        static Layers of(EpCase model, EpHandle handle, List<Quantisation> quantisations, CudaStream stream) {
            Map<DispatchRecipe, MoeLayer> layers = new EnumMap<>(DispatchRecipe.class);
            for (Quantisation quantisation : quantisations) {
                MoeLayer layer = new MoeLayer(handle.allocateBuffers(quantisation.buffers(model)),
                        ExpertFunction.scaling(), stream);
                layers.put(layer.buffers().config().dispatchRecipe(), layer);
            }
            return new Layers(layers);
        }

        MoeLayer of(GraphKey key) {
            return layers.get(key.dispatchRecipe());
        }

        @Override
        public void warmUp(GraphKey key, CudaStream stream) {
            of(key).handle().warmUp(of(key).buffers(), key.tokens(), stream);
        }

        @Override
        public void enqueue(GraphKey key, CudaStream stream) {
            of(key).enqueue(key.tokens());
        }

        @Override
        public void close() {
            layers.values().forEach(layer -> {
                layer.close();
                layer.buffers().close();
            });
        }
    }

    @EachLayerKind
    @EmulatedRanks(value = RANKS, limitSeconds = 120)
    void aGraphIsFoundByItsRecipe(LayerKind kind, EmulatedCluster cluster) {
        EpCase model = seeds.draw(kind.space(RANKS).withFormat(NumberFormat.BFLOAT16).withHidden(512));
        List<EpCase> batches = seeds.batches(model, ReplayProof.REPLAYS, kind.routings());
        cluster.run(rank -> serve(rank, kind, batches));
    }

    private static void serve(EmulatedRank rank, LayerKind kind, List<EpCase> batches) {
        EpCase model = batches.getFirst();
        int most = model.shape().maxTokens();
        List<Quantisation> quantisations = kind.isLowLatency()
                ? List.of(Quantisation.PLAIN, Quantisation.BLOCK_SCALED, Quantisation.FORWARDED)
                : List.of(Quantisation.PLAIN, Quantisation.FORWARDED);
        try (MoeRank self = MoeRank.of(rank, kind, model);
                EpHandle handle = self.group().createHandle();
                Layers step = Layers.of(model, handle, quantisations, self.stream());
                GraphCache cache = GraphCache.create(rank.bootstrap(), self.stream(), step)) {
            List<GraphKey> keys = new ArrayList<>();
            for (MoeLayer layer : step.layers.values()) {
                keys.add(GraphKey.of(most, layer.buffers()));
                keys.add(GraphKey.of(Math.ceilDiv(most, 2), layer.buffers()));
            }
            GraphKey plain = GraphKey.of(most, kind.layout());
            GraphKey other = keys.getLast();
            assertThat(keys).contains(plain);
            assertThatThrownBy(() -> cache.capture(rank.rank() == 0 ? other.withTokens(most) : plain))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessage("the ranks do not agree on which graphs to capture: rank 0: " + kind.layout() + " T="
                            + most + " dispatch " + other.dispatchRecipe() + "; ranks 1, 2: " + kind.layout() + " T="
                            + most);
            assertThat(cache.find(plain, 0)).isNull();
            cache.capture(keys.toArray(GraphKey[]::new));
            for (int i = 0; i < batches.size(); i++) {
                EpCase batch = batches.get(i);
                // All ranks take the same recipe, and each the T that it needs.
                GraphKey like = keys.get(2 * (i % quantisations.size()));
                MoeLayer layer = step.of(like);
                layer.load(batch);
                layer.spoil();
                CachedGraph graph = cache.find(like, layer.count(batch));
                assertThat(graph.key().dispatchRecipe()).isEqualTo(like.dispatchRecipe());
                graph.launch(self.stream());
                self.await();
                layer.verify(batch, graph.key().tokens());
            }
        }
    }
}
