package io.nccl4j.guide;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaEvent;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.PiecewiseGraph;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.Layout;
import io.nccl4j.ep.graph.CachedGraph;
import io.nccl4j.ep.graph.EpHandlePool;
import io.nccl4j.ep.graph.GraphCache;
import io.nccl4j.ep.graph.GraphKey;
import io.nccl4j.ep.graph.GraphStep;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.testing.MoeRank;
import org.junit.jupiter.api.Test;

/** The examples of docs/graphs.md as programs: they run on the emulator, and they are what the guide shows. */
@EmulatedRanks(GuideModel.RANKS)
class GraphsGuideTest {
    private static final EpGroupConfig CONFIG = EpGroupConfig.lowLatency().experts(GuideModel.EXPERTS)
            .maxTokensPerRank(GuideModel.MAX_TOKENS).maxTokenBytes(GuideModel.HIDDEN * 2).layout(Layout.EXPERT_MAJOR)
            .topK(GuideModel.TOP_K);

    private interface Example {
        void run(EmulatedRank rank, GuideModel model);
    }

    private static void run(EmulatedCluster cluster, Example example) {
        cluster.run(rank -> {
            try (GuideModel model = new GuideModel(rank.device(), rank.rank())) {
                example.run(rank, model);
                assertThat(model.isDone()).isTrue();
            }
        });
    }

    private static MoeRank rank(EmulatedRank rank) {
        return new MoeRank(rank.bootstrap(), rank.device(), CONFIG,
                BufferConfig.of(GuideModel.HIDDEN, DataType.BFLOAT16));
    }

    // example step
    /** All layers of a decode step, on the same buffers; T is that of the graph. */
    record DecodeStep(EpBuffers buffers, int layers, GuideModel model) implements GraphStep {
        @Override
        public void warmUp(GraphKey key, CudaStream stream) {
            buffers.handle().warmUp(buffers, key.tokens(), stream);
        }

        @Override
        public void enqueue(GraphKey key, CudaStream stream) {
            EpHandle handle = buffers.handle();
            for (int layer = 0; layer < layers; layer++) {
                model.attention(layer, buffers, stream); // writes tokens, weights and routing into the buffers
                handle.dispatchAsync(buffers, key.tokens(), stream);
                model.experts(layer, buffers, stream); // reads received() and expertCounts(), writes expertOutputs()
                handle.combineAsync(buffers, stream);
            }
        }
    }
    // end

    @Test
    void aServerWithGraphs(EmulatedCluster cluster) {
        run(cluster, (rank, model) -> serve(rank.bootstrap(), model, GuideModel.LAYERS, GuideModel.HIDDEN));
    }

    private static void serve(Bootstrap bootstrap, GuideModel server, int layers, int hidden) {
        EpGroupConfig config = CONFIG;
        // example server
        CudaDevice device = bootstrap.device();
        // 1. Create, from the outside in, on the thread that will make the steps. Collective.
        try (Communicator comm = Communicator.init(bootstrap, device);
                CudaStream stream = CudaStream.create(device);
                EpGroup group = EpGroup.create(comm, config);
                EpHandle handle = group.createHandle();
                EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(hidden, DataType.BFLOAT16));
                GraphCache graphs = GraphCache.create(bootstrap, stream, new DecodeStep(buffers, layers, server))) {

            // 2. Warm up and capture, a graph for each T. Collective: the ranks agree on it, all succeed or none.
            GraphKey shape = GraphKey.of(config.maxTokensPerRank(), Layout.EXPERT_MAJOR);
            graphs.capture(shape.withTokens(4), shape.withTokens(8), shape);

            // 3. Replay. No rank asks another one; each takes the smallest T that holds its batch.
            while (server.nextBatch()) {
                CachedGraph step = graphs.find(shape, server.batchSize());
                server.load(buffers, stream); // rows of routing from the batch's size on: -1
                step.launch(stream);
                server.use(buffers, stream);
            }
        } // 4. Tear down in the reverse order: graphs, buffers, handle, group, stream, communicator.
          // end
    }

    @Test
    void oneGraph(EmulatedCluster cluster) {
        run(cluster, (rank, model) -> {
            try (MoeRank self = rank(rank);
                    EpHandle handle = self.group().createHandle();
                    EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(GuideModel.HIDDEN, DataType.BFLOAT16))) {
                oneGraph(handle, buffers, GuideModel.MAX_TOKENS, model, self.stream());
            }
        });
    }

    private static void oneGraph(EpHandle handle, EpBuffers buffers, int maxTokens, GuideModel model,
            CudaStream stream) {
        // example capture
        handle.warmUp(buffers, maxTokens, stream);
        try (CudaGraph graph = stream.capture(() -> {
            model.attention(0, buffers, stream);
            handle.dispatchAsync(buffers, maxTokens, stream);
            model.experts(0, buffers, stream);
            handle.combineAsync(buffers, stream);
        }); CudaGraphExec step = graph.instantiate()) {
            while (model.nextBatch()) {
                model.load(buffers, stream);
                step.launch(stream);
                model.use(buffers, stream);
            }
        }
        // end
    }

    @Test
    void aPoolOfHandles(EmulatedCluster cluster) {
        run(cluster, (rank, model) -> {
            try (MoeRank self = rank(rank)) {
                pool(self.group(), GuideModel.HIDDEN, model, self.stream());
            }
        });
    }

    private static void pool(EpGroup group, int hidden, GuideModel model, CudaStream stream) {
        // example pool
        try (EpHandlePool pool = EpHandlePool.builder(group).slots(2)
                .build(BufferConfig.of(hidden, DataType.BFLOAT16))) {
            while (model.nextBatch()) {
                try (EpHandlePool.Slot slot = pool.acquire()) {
                    EpBuffers buffers = slot.buffers();
                    model.load(buffers, stream);
                    model.attention(0, buffers, stream);
                    slot.handle().dispatchAsync(buffers, model.batchSize(), stream);
                    model.experts(0, buffers, stream);
                    slot.handle().combineAsync(buffers, stream);
                    model.use(buffers, stream);
                }
            }
        }
        // end
    }

    @Test
    void piecewise(EmulatedCluster cluster) {
        run(cluster, (rank, model) -> {
            try (MoeRank self = rank(rank);
                    EpHandle handle = self.group().createHandle();
                    EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(GuideModel.HIDDEN, DataType.BFLOAT16))) {
                piecewise(handle, buffers, GuideModel.LAYERS, model, self.stream());
            }
        });
    }

    private static void piecewise(EpHandle handle, EpBuffers buffers, int layers, GuideModel model, CudaStream stream) {
        // example piecewise
        PiecewiseGraph.Builder segments = PiecewiseGraph.on(stream);
        for (int i = 0; i < layers; i++) {
            int layer = i;
            segments.captured("attention " + layer, on -> model.attention(layer, buffers, on))
                    .eager("dispatch " + layer, on -> handle.dispatchAsync(buffers, model.batchSize(), on))
                    .captured("experts " + layer, on -> model.experts(layer, buffers, on))
                    .eager("combine " + layer, on -> handle.combineAsync(buffers, on));
        }
        try (PiecewiseGraph step = segments.build()) {
            while (model.nextBatch()) {
                model.load(buffers, stream);
                step.replay(stream);
                model.use(buffers, stream);
            }
            step.recapture("experts 1"); // its kernels have changed, say; the others stay
        }
        // end
    }

    @Test
    void overlap(EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (GuideModel modelA = new GuideModel(rank.device(), rank.rank());
                    GuideModel modelB = new GuideModel(rank.device(), rank.rank());
                    MoeRank self = rank(rank);
                    CudaStream compute = CudaStream.create(rank.device());
                    CudaEvent fork = CudaEvent.create(rank.device());
                    CudaEvent join = CudaEvent.create(rank.device());
                    EpHandlePool pool = EpHandlePool.builder(self.group()).slots(2).build(GuideModel.HIDDEN,
                            DataType.BFLOAT16)) {
                overlap(pool, modelA, modelB, GuideModel.MAX_TOKENS, self.stream(), compute, fork, join);
                assertThat(modelA.isDone() && modelB.isDone()).isTrue();
            }
        });
    }

    private static void overlap(EpHandlePool pool, GuideModel modelA, GuideModel modelB, int tokens, CudaStream stream,
            CudaStream compute, CudaEvent fork, CudaEvent join) {
        // example overlap
        try (EpHandlePool.Slot a = pool.acquire(0); EpHandlePool.Slot b = pool.acquire(1)) {
            Runnable step = () -> {
                modelA.attention(0, a.buffers(), stream);
                a.handle().dispatchAsync(a.buffers(), tokens, stream);

                // What b sends is under way while the experts of a compute.
                modelB.attention(0, b.buffers(), stream);
                b.handle().dispatchAsync(b.buffers(), tokens, DispatchConfig.defaults().sendOnly(), stream);
                fork.record(stream);
                compute.waitEvent(fork);
                modelA.experts(0, a.buffers(), compute);
                join.record(compute);
                stream.waitEvent(join);
                b.handle().complete();

                // The combine of a runs beside the experts of b.
                fork.record(stream);
                compute.waitEvent(fork);
                modelB.experts(0, b.buffers(), compute);
                join.record(compute);
                a.handle().combineAsync(a.buffers(), stream);
                stream.waitEvent(join);

                b.handle().combineAsync(b.buffers(), stream);
            };
            a.handle().warmUp(a.buffers(), tokens, stream);
            try (CudaGraph graph = stream.capture(step); CudaGraphExec replay = graph.instantiate()) {
                while (modelA.nextBatch() && modelB.nextBatch()) {
                    modelA.load(a.buffers(), stream);
                    modelB.load(b.buffers(), stream);
                    replay.launch(stream); // or step.run(): the same, eagerly
                    modelA.use(a.buffers(), stream);
                    modelB.use(b.buffers(), stream);
                }
            }
        }
        // end
    }
}
