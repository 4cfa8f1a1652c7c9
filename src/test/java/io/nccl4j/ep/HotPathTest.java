package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.EpCase;
import java.lang.management.ManagementFactory;
import java.util.function.UnaryOperator;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A step calls what it must, and allocates nothing. */
@EmulatedRanks
class HotPathTest {
    private static final int STEPS = 200;

    private final ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();

    private static EpCase draw(LayerResultsTest.Kind kind) {
        return kind.draw(kind.ordinal(), 2);
    }

    @ParameterizedTest
    @EnumSource(LayerResultsTest.Kind.class)
    void aStepAllocatesNothingOnTheHeap(LayerResultsTest.Kind kind, EmulatedCluster cluster) {
        EpCase drawn = draw(kind);
        cluster.run(rank -> {
            try (LayerOnRank layer = LayerOnRank.of(rank, drawn, kind.algorithm, kind.layout,
                    UnaryOperator.identity())) {
                layer.load(drawn);
                long least = Long.MAX_VALUE;
                // The VM itself allocates now and then, when it links or compiles something.
                for (int round = 0; round < 8; round++) {
                    long before = threads.getCurrentThreadAllocatedBytes();
                    steps(layer, STEPS);
                    least = Math.min(least, threads.getCurrentThreadAllocatedBytes() - before);
                    layer.stream.await(LayerOnRank.LIMIT);
                }
                rank.bootstrap().barrier();
                assertThat(least).isZero();
            }
        });
    }

    /** Batches of all sizes. */
    private static void steps(LayerOnRank layer, int count) {
        for (int i = 0; i < count; i++) {
            layer.handle.dispatchAsync(layer.buffers, i % (layer.buffers.maxTokens() + 1), layer.stream);
            layer.handle.combineAsync(layer.buffers, layer.stream);
        }
    }

    @ParameterizedTest
    @EnumSource(LayerResultsTest.Kind.class)
    void aStepIsThreeNativeCallsWithoutAWaitAndAReplayIsOne(LayerResultsTest.Kind kind, EmulatedCluster cluster) {
        EpCase drawn = draw(kind);
        cluster.run(rank -> {
            try (LayerOnRank layer = LayerOnRank.of(rank, drawn, kind.algorithm, kind.layout, UnaryOperator.identity());
                    CudaGraph graph = layer.stream.capture(() -> steps(layer, 2));
                    CudaGraphExec exec = graph.instantiate()) {
                layer.load(drawn);
                steps(layer, 2);
                layer.stream.await(LayerOnRank.LIMIT);
                exec.launch(layer.stream);
                rank.bootstrap().barrier();
                long calls = Emulator.callCount();
                long waits = Emulator.usage().hostWaits();
                long allocations = Emulator.usage().deviceAllocations();
                rank.bootstrap().barrier();
                steps(layer, STEPS);
                rank.bootstrap().barrier();
                assertThat(Emulator.callCount() - calls).isEqualTo(rank.size() * STEPS * 3L);
                rank.bootstrap().barrier();
                exec.launch(layer.stream);
                rank.bootstrap().barrier();
                assertThat(Emulator.callCount() - calls).isEqualTo(rank.size() * (STEPS * 3L + 1));
                assertThat(Emulator.usage().hostWaits()).isEqualTo(waits);
                assertThat(Emulator.usage().deviceAllocations()).isEqualTo(allocations);
                rank.bootstrap().barrier();
                layer.stream.await(LayerOnRank.LIMIT);
                rank.bootstrap().barrier();
            }
        });
    }
}
