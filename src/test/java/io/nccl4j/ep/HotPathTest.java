package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.lang.management.ManagementFactory;

/** A step calls what it must, and allocates nothing. */
@EmulatedRanks
class HotPathTest {
    private static final int STEPS = 200;

    private final ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();

    private static EpCase draw(LayerKind kind) {
        return EpCase.draw(kind.space(2), kind.ordinal());
    }

    @EachLayerKind
    void aStepAllocatesNothingOnTheHeap(LayerKind kind, EmulatedCluster cluster) {
        EpCase drawn = draw(kind);
        MoeRank.run(cluster, kind, drawn, (rank, layer) -> {
            layer.load(drawn);
            long least = Long.MAX_VALUE;
            // The VM itself allocates now and then, when it links or compiles something.
            for (int round = 0; round < 8; round++) {
                long before = threads.getCurrentThreadAllocatedBytes();
                steps(layer, STEPS, rank.stream());
                least = Math.min(least, threads.getCurrentThreadAllocatedBytes() - before);
                rank.await();
            }
            rank.bootstrap().barrier();
            assertThat(least).isZero();
        });
    }

    /** Batches of all sizes. */
    private static void steps(MoeLayer layer, int count, CudaStream stream) {
        for (int i = 0; i < count; i++) {
            layer.handle().dispatchAsync(layer.buffers(), i % (layer.buffers().maxTokens() + 1), stream);
            layer.combine();
        }
    }

    @EachLayerKind
    void aStepIsThreeNativeCallsWithoutAWaitAndAReplayIsOne(LayerKind kind, EmulatedCluster cluster) {
        EpCase drawn = draw(kind);
        MoeRank.run(cluster, kind, drawn, (rank, layer) -> {
            try (CudaGraph graph = rank.stream().capture(() -> steps(layer, 2, rank.stream()));
                    CudaGraphExec exec = graph.instantiate()) {
                layer.load(drawn);
                steps(layer, 2, rank.stream());
                rank.await();
                exec.launch(rank.stream());
                rank.bootstrap().barrier();
                long calls = Emulator.callCount();
                long waits = Emulator.usage().hostWaits();
                long allocations = Emulator.usage().deviceAllocations();
                rank.bootstrap().barrier();
                steps(layer, STEPS, rank.stream());
                rank.bootstrap().barrier();
                assertThat(Emulator.callCount() - calls).isEqualTo(rank.size() * STEPS * 3L);
                rank.bootstrap().barrier();
                exec.launch(rank.stream());
                rank.bootstrap().barrier();
                assertThat(Emulator.callCount() - calls).isEqualTo(rank.size() * (STEPS * 3L + 1));
                assertThat(Emulator.usage().hostWaits()).isEqualTo(waits);
                assertThat(Emulator.usage().deviceAllocations()).isEqualTo(allocations);
                rank.bootstrap().barrier();
                rank.await();
                rank.bootstrap().barrier();
            }
        });
    }
}
