package io.nccl4j.ep.graphs;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.Rows;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeSet;

/**
 * A layer that is run eagerly and replayed from graphs, batch after batch: both give what the oracle says, and the same
 * bit for bit. Graphs of three T live at once on the same handle and buffers, eager runs stand between their replays,
 * and some ranks replay while others call.
 */
final class ReplayProof {
    static final int REPLAYS = 50;

    private ReplayProof() {
    }

    /** Runs all batches on a rank; throws at the first difference. */
    static void run(EmulatedRank rank, LayerKind kind, Quantisation quantisation, List<EpCase> batches) {
        EpCase model = batches.getFirst();
        int maxTokens = model.shape().maxTokens();
        TreeSet<Integer> buckets = new TreeSet<>(
                List.of(Math.ceilDiv(maxTokens, 4), Math.ceilDiv(maxTokens, 2), maxTokens));
        try (MoeRank self = MoeRank.of(rank, kind, model); MoeLayer layer = self.layer(quantisation.buffers(model))) {
            layer.handle().warmUp(layer.buffers(), maxTokens, self.stream());
            List<CudaGraphExec> graphs = new ArrayList<>();
            try {
                for (int tokens : buckets) {
                    try (CudaGraph graph = self.stream().capture(() -> layer.enqueue(tokens))) {
                        graphs.add(graph.instantiate());
                    }
                }
                for (int i = 0; i < batches.size(); i++) {
                    EpCase batch = batches.get(i);
                    int bucket = buckets.ceiling(layer.count(batch));
                    // Other ranks may have another T in the same step.
                    CudaGraphExec graph = graphs.get(buckets.headSet(bucket).size());
                    compare(self, layer, batch, i % 2 == 0 ? layer.count(batch) : bucket, graph, bucket);
                    mix(self, layer, batch, i, graph, bucket);
                }
            } finally {
                graphs.forEach(CudaGraphExec::close);
            }
        }
    }

    private static void compare(MoeRank self, MoeLayer layer, EpCase batch, int eagerTokens, CudaGraphExec graph,
            int bucket) {
        layer.spoil();
        layer.runAndVerify(batch, eagerTokens, () -> layer.enqueue(eagerTokens));
        List<List<ByteBuffer>> received = layer.rows().received();
        byte[] combined = rows(layer, batch);
        layer.spoil();
        graph.launch(self.stream());
        self.await();
        layer.verify(batch, bucket);
        assertThat(layer.rows().received()).isEqualTo(received);
        assertThat(rows(layer, batch)).isEqualTo(combined);
    }

    /** The combined rows of a batch. */
    private static byte[] rows(MoeLayer layer, EpCase batch) {
        Rows all = layer.rows().combined();
        return Arrays.copyOf(all.data(), layer.count(batch) * all.rowBytes());
    }

    /** Some ranks replay while the others call eagerly. */
    private static void mix(MoeRank self, MoeLayer layer, EpCase batch, int step, CudaGraphExec graph, int bucket) {
        layer.spoil();
        if ((self.rank() + step) % 2 == 0) {
            graph.launch(self.stream());
        } else {
            layer.enqueue(bucket);
        }
        self.await();
        layer.verify(batch, bucket);
    }
}
