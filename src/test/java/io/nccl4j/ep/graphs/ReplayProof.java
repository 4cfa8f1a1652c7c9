package io.nccl4j.ep.graphs;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;

/**
 * A layer that is run eagerly and replayed from graphs, batch after batch: both give what the oracle says, and the same bit for bit. Graphs
 * of three T live at once on the same handle and buffers, eager runs stand between their replays, and some ranks replay while others call.
 */
final class ReplayProof {
    static final int REPLAYS = 50;

    private ReplayProof() {
    }

    /** Batches of one shape: other tokens, weights, routing and numbers of tokens each time. */
    static List<EpCase> batches(EpCase model, LayerKind kind, CaseSeeds seeds) {
        List<EpCase> batches = new ArrayList<>();
        RoutingKind[] routings = kind.routings();
        seeds.first(REPLAYS)
                .forEach(seed -> batches.add(model.redraw(routings[batches.size() % routings.length], seed)));
        return batches;
    }

    /** Runs all batches on a rank; throws at the first difference. */
    static void run(EmulatedRank rank, LayerKind kind, Quantisation quantisation, List<EpCase> batches) {
        EpCase model = batches.getFirst();
        int maxTokens = model.shape().maxTokens();
        TreeSet<Integer> buckets = new TreeSet<>(
                List.of(Math.ceilDiv(maxTokens, 4), Math.ceilDiv(maxTokens, 2), maxTokens));
        try (MoeRank self = new MoeRank(rank, kind, quantisation, model, kind.config(model).build());
                MoeLayer layer = self.layer()) {
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
                    int bucket = buckets.ceiling(layer.tokens(batch));
                    // Other ranks may have another T in the same step.
                    CudaGraphExec graph = graphs.get(buckets.headSet(bucket).size());
                    compare(self, layer, batch, i % 2 == 0 ? layer.tokens(batch) : bucket, graph, bucket);
                    mix(self, layer, batch, i, graph, bucket);
                }
            } finally {
                graphs.forEach(CudaGraphExec::close);
            }
        }
    }

    private static void compare(MoeRank self, MoeLayer layer, EpCase batch, int eagerTokens, CudaGraphExec graph,
            int bucket) {
        layer.load(batch, self.stream());
        layer.spoil();
        layer.enqueue(eagerTokens, self.stream());
        LayerResult eager = layer.result(eagerTokens);
        layer.spoil();
        graph.launch(self.stream());
        LayerResult replayed = layer.result(bucket);
        layer.verify(batch, eager);
        layer.verify(batch, replayed);
        eager.verifySame(replayed, self.kind(), layer.tokens(batch), batch.shape().topK());
    }

    /** Some ranks replay while the others call eagerly. */
    private static void mix(MoeRank self, MoeLayer layer, EpCase batch, int step, CudaGraphExec graph, int bucket) {
        layer.spoil();
        if ((self.rank().rank() + step) % 2 == 0) {
            graph.launch(self.stream());
        } else {
            layer.enqueue(bucket, self.stream());
        }
        layer.verify(batch, layer.result(bucket));
    }
}
