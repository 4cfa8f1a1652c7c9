package io.nccl4j.ep.graphs;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.bootstrap.BootstrapOptions;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.Gate;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.ep.Layout;
import io.nccl4j.ep.graph.CachedGraph;
import io.nccl4j.ep.graph.GraphCache;
import io.nccl4j.ep.graph.GraphCacheStatistics;
import io.nccl4j.ep.graph.GraphKey;
import io.nccl4j.ep.graph.GraphStep;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.lang.reflect.Proxy;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;

@EmulatedRanks(GraphCacheTest.RANKS)
class GraphCacheTest {
    static final int RANKS = 3;
    private static final int STEPS = 50;
    private static final Layout LAYOUT = Layout.RANK_MAJOR;
    private static final GraphKey LIKE = GraphKey.of(0, LAYOUT);

    private final CaseSeeds seeds = CaseSeeds.fresh();

    /** Counts how often a rank talks to the others. */
    private static Bootstrap counted(Bootstrap inner, AtomicInteger calls) {
        Class<?>[] types = {Bootstrap.class};
        return (Bootstrap) Proxy.newProxyInstance(Bootstrap.class.getClassLoader(), types,
                (proxy, method, arguments) -> {
                    if (method.getName().matches("allGather|barrier|exchange.*")) {
                        calls.incrementAndGet();
                    }
                    return method.invoke(inner, arguments);
                });
    }

    private static final class LayerStep implements GraphStep {
        private final MoeLayer layer;

        LayerStep(MoeLayer layer) {
            this.layer = layer;
        }

        @Override
        public void warmUp(GraphKey key, CudaStream stream) {
            layer.handle().warmUp(layer.buffers(), key.tokens(), stream);
        }

        @Override
        public void enqueue(GraphKey key, CudaStream stream) {
            layer.enqueue(key.tokens());
        }
    }

    @EachLayerKind
    @EmulatedRanks(value = RANKS, limitSeconds = 120)
    void inSteadyStateRanksChooseAloneAndDoNotTalk(LayerKind kind, EmulatedCluster cluster) {
        EpCase model = seeds.draw(kind.space(RANKS));
        List<EpCase> batches = seeds.batches(model, STEPS, kind.routings());
        cluster.run(rank -> serve(rank, kind, batches));
    }

    private static void serve(EmulatedRank rank, LayerKind kind, List<EpCase> batches) {
        EpCase model = batches.getFirst();
        int most = model.shape().maxTokens();
        GraphKey like = GraphKey.of(0, kind.layout());
        AtomicInteger talked = new AtomicInteger();
        Bootstrap bootstrap = counted(rank.bootstrap(), talked);
        try (MoeRank self = MoeRank.of(rank, kind, model);
                MoeLayer layer = self.layer();
                GraphCache cache = GraphCache.create(bootstrap, self.stream(), new LayerStep(layer))) {
            cache.capture(like.withTokens(Math.max(1, most / 2)), like.withTokens(most));
            cache.capture(like.withTokens(most));
            int talks = talked.get();
            int captures = cache.find(like, Math.max(1, most / 2)).key().tokens() == most ? 1 : 2;
            for (EpCase batch : batches) {
                int tokens = layer.count(batch);
                CachedGraph graph = cache.find(like, tokens);
                assertThat(graph.key().tokens())
                        .isEqualTo(tokens <= Math.max(1, most / 2) ? Math.max(1, most / 2) : most);
                layer.spoil();
                layer.runAndVerify(batch, graph.key().tokens(), () -> graph.launch(self.stream()));
            }
            assertThat(cache.find(like, most + 1)).isNull();
            assertThat(cache.find(GraphKey.of(0, kind == LayerKind.HT_FLAT ? Layout.EXPERT_MAJOR : Layout.FLAT), 0))
                    .isNull();
            assertThat(talked.get()).isEqualTo(talks);
            GraphCacheStatistics statistics = cache.statistics();
            assertThat(statistics.graphs()).isEqualTo(captures);
            assertThat(statistics.captures()).isEqualTo(captures);
            assertThat(statistics.hits()).isEqualTo(STEPS + 1L);
            assertThat(statistics.misses()).isEqualTo(2);
            assertThat(statistics.evictions()).isZero();
        }
    }

    /** A step that takes memory of its own for every key, and fails on demand. */
    private static final class Hungry implements GraphStep {
        private final EmulatedRank rank;
        private final Map<GraphKey, DeviceMemory> memory = new HashMap<>();
        private int failAt = -1;

        Hungry(EmulatedRank rank) {
            this.rank = rank;
        }

        @Override
        public void warmUp(GraphKey key, CudaStream stream) {
            memory.put(key, DeviceMemory.allocate(rank.device(), key.tokens() * 1024L * 1024));
        }

        @Override
        public void enqueue(GraphKey key, CudaStream stream) {
            memory.get(key).fillAsync((byte) 1, stream);
            if (key.tokens() == failAt) {
                throw new UnsupportedOperationException("no kernel for T=" + failAt);
            }
        }

        @Override
        public void evicted(GraphKey key) {
            memory.remove(key).close();
        }
    }

    private interface Body {
        void run(Hungry step, GraphCache cache, CudaStream stream) throws Exception;
    }

    /** Runs a body with a cache on each rank. */
    private static void run(EmulatedCluster cluster, UnaryOperator<GraphCache> options, Body body) {
        cluster.run(rank -> {
            Hungry step = new Hungry(rank);
            try (CudaStream stream = CudaStream.create(rank.device());
                    GraphCache cache = options.apply(GraphCache.create(rank.bootstrap(), stream, step))) {
                body.run(step, cache, stream);
            }
            assertThat(step.memory).isEmpty();
        });
    }

    private static GraphKey key(int tokens) {
        return LIKE.withTokens(tokens);
    }

    private static void launch(GraphCache cache, int tokens, CudaStream stream) {
        CachedGraph graph = cache.find(LIKE, tokens);
        assertThat(graph).isNotNull();
        assertThat(graph.key()).isEqualTo(key(tokens));
        graph.launch(stream);
    }

    @Test
    void ranksThatDisagreeAreNamedAndNothingChanges(EmulatedCluster cluster) {
        run(cluster, UnaryOperator.identity(), (step, cache, stream) -> {
            cache.capture(key(4));
            assertThatThrownBy(() -> cache.capture(key(8), key(step.rank.rank() == 1 ? 32 : 16)))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessage("the ranks do not agree on which graphs to capture: "
                            + "ranks 0, 2: RANK_MAJOR T=8, RANK_MAJOR T=16; rank 1: RANK_MAJOR T=8, RANK_MAJOR "
                            + "T=32");
            assertThat(cache.statistics().graphs()).isEqualTo(1);
            assertThat(step.memory).hasSize(1);
            if (step.rank.rank() == 2) {
                cache.evict(key(4));
            }
            assertThatThrownBy(() -> cache.capture(key(8))).isInstanceOf(IllegalStateException.class).hasMessage(
                    "the ranks do not agree on which graphs they have: ranks 0, 1: RANK_MAJOR T=4; rank 2: none");
            cache.evict(key(4));
            cache.capture(key(8));
            launch(cache, 8, stream);
        });
    }

    @Test
    void aRankThatCannotCaptureIsNamedAndNobodyHasTheGraph(EmulatedCluster cluster) {
        run(cluster, UnaryOperator.identity(), (step, cache, stream) -> {
            cache.capture(key(1));
            step.failAt = step.rank.rank() == 1 ? 3 : -1;
            assertThatThrownBy(() -> cache.capture(key(2), key(3), key(4))).isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining(
                            "capture of RANK_MAJOR T=2, RANK_MAJOR T=3, RANK_MAJOR T=4 failed on some ranks")
                    .hasMessageContaining("rank 1: ").hasMessageContaining("no kernel for T=3")
                    .satisfies(e -> assertThat(e.getSuppressed()).hasSize(step.rank.rank() == 1 ? 1 : 0));
            assertThat(stream.isCapturing()).isFalse();
            assertThat(cache).hasToString("GraphCache[RANK_MAJOR T=1]");
            assertThat(step.memory).containsOnlyKeys(key(1));
            assertThat(Emulator.usage(step.rank.device()).graphExecs()).isEqualTo(1);
            launch(cache, 1, stream);
            step.failAt = -1;
            cache.capture(key(2), key(3), key(4));
            assertThat(cache.statistics().captures()).isEqualTo(4);
            assertIllegalState(() -> stream.capture(() -> cache.capture(key(5))), "captures cannot be nested");
        });
    }

    @Test
    void theLeastRecentlyUsedOfAllRanksIsEvicted(EmulatedCluster cluster) {
        run(cluster, cache -> cache.maxGraphs(3), (step, cache, stream) -> {
            assertIllegalState(() -> cache.capture(key(1), key(2), key(3), key(4)), "4 keys for a cache of 3");
            cache.capture(key(1), key(2), key(3));
            CachedGraph second = cache.find(LIKE, 2);
            // Rank 0 has used 1 last, the others 3 and 1; in sum 2 is the one to go.
            for (int tokens : step.rank.rank() == 0 ? new int[]{2, 3, 1} : new int[]{2, 1, 3}) {
                launch(cache, tokens, stream);
            }
            cache.capture(key(5));
            assertThat(cache).hasToString("GraphCache[RANK_MAJOR T=1, RANK_MAJOR T=3, RANK_MAJOR T=5]");
            assertThat(step.memory).containsOnlyKeys(key(1), key(3), key(5));
            assertThat(cache.statistics().evictions()).isEqualTo(1);
            assertIllegalState(() -> second.launch(stream), "is closed");
            // Those that are wanted are not evicted for each other.
            cache.capture(key(1), key(6), key(5));
            assertThat(cache).hasToString("GraphCache[RANK_MAJOR T=1, RANK_MAJOR T=5, RANK_MAJOR T=6]");
        });
    }

    @Test
    void bytesAreLimitedToo(EmulatedCluster cluster) {
        long mebibyte = 1024 * 1024;
        run(cluster, cache -> cache.maxBytes(10 * mebibyte), (step, cache, stream) -> {
            cache.capture(key(3), key(6));
            assertThat(cache.statistics().bytes()).isEqualTo(9 * mebibyte);
            launch(cache, 3, stream);
            cache.capture(key(2));
            assertThat(cache).hasToString("GraphCache[RANK_MAJOR T=3, RANK_MAJOR T=2]");
            assertIllegalState(() -> cache.capture(key(11)),
                    "graphs for RANK_MAJOR T=11 take " + 11 * mebibyte + " bytes");
            assertThat(cache.statistics()).isEqualTo(new GraphCacheStatistics(2, 5 * mebibyte, 1, 0, 3, 1));
            assertThat(step.memory).containsOnlyKeys(key(3), key(2));
        });
    }

    @Test
    @EmulatedRanks(1)
    void aGraphInFlightIsNotEvicted(EmulatedCluster cluster) {
        run(cluster, cache -> cache.waitAtMost(Duration.ofMillis(100)), (step, cache, stream) -> {
            cache.capture(key(1));
            Gate gate = Gate.on(stream);
            launch(cache, 1, stream);
            assertFailure(WaitTimeoutException.class, () -> cache.evict(key(1)), "RANK_MAJOR T=1 cannot be evicted",
                    "100 ms");
            assertIllegalState(() -> cache.capture(key(2)), "rank 0: work is in flight after 100 ms");
            assertThat(cache.statistics().graphs()).isEqualTo(1);
            launch(cache, 1, stream);
            gate.open();
            stream.await(MoeRank.LIMIT);
            cache.evict(key(1));
            cache.evict(key(1));
            assertThat(cache.statistics()).isEqualTo(new GraphCacheStatistics(0, 0, 2, 0, 1, 1));
            GraphCache closed = GraphCache.create(step.rank.bootstrap(), stream, step);
            closed.close();
            assertIllegalState(() -> closed.capture(key(1)), "(closed)");
        });
    }

    @Test
    @EmulatedRanks(1)
    void aRankThatDoesNotComeIsNamed(EmulatedCluster cluster) {
        cluster.run(rank -> {
            List<Bootstrap> two = Bootstraps.inProcess(2, BootstrapOptions.defaults().limit(Duration.ofMillis(100)));
            try (CudaStream stream = CudaStream.create(rank.device());
                    GraphCache cache = GraphCache.create(two.getFirst(), stream, new Hungry(rank))) {
                assertFailure(WaitTimeoutException.class, () -> cache.capture(key(1)), "rank 1");
                assertThat(cache.statistics().graphs()).isZero();
            } finally {
                two.forEach(Bootstrap::close);
            }
        });
    }
}
