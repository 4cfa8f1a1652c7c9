package io.nccl4j.guide;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.Layout;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Bootstrap;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;

/** The example of docs/deploy.md: ranks that stop between the same two steps, and close before the hook returns. */
class StoppingGuideTest {
    // example stop
    /** Before each step, or each hundredth: whether a rank wants to stop. All hear it at the same place. */
    static boolean anyStops(Bootstrap ranks, boolean mine) {
        for (byte[] told : ranks.allGather(new byte[]{(byte) (mine ? 1 : 0)})) {
            if (told[0] == 1) {
                return true;
            }
        }
        return false;
    }

    /** For Runtime.addShutdownHook. The rank's thread counts the latch down when it has closed everything. */
    static Thread hook(AtomicBoolean stop, CountDownLatch closed) {
        return new Thread(() -> {
            stop.set(true);
            try {
                closed.await(60, TimeUnit.SECONDS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }, "shutdown");
    }
    // end

    private record Stoppable(DecodeLoop.Server server, Bootstrap ranks, AtomicBoolean stop,
            int[] steps) implements DecodeLoop.Server {
        @Override
        public boolean nextBatch() {
            if (anyStops(ranks, stop.get())) {
                return false;
            }
            steps[0]++;
            return true;
        }

        @Override
        public void writeBatch(EpBuffers buffers, CudaStream stream) {
            server.writeBatch(buffers, stream);
        }

        @Override
        public void experts(EpBuffers buffers, CudaStream stream) {
            server.experts(buffers, stream);
        }

        @Override
        public void readResult(EpBuffers buffers, CudaStream stream) {
            stream.await(Duration.ofSeconds(10)); // the model's pinned memory is written again
            if (steps[0] == 3 && ranks.rank() == 0) {
                // As the JVM would at SIGTERM, while the rank goes on.
                hook(stop, new CountDownLatch(0)).start();
            }
        }
    }

    @Test
    @EmulatedRanks(4)
    void allRanksMakeTheSameSteps(EmulatedCluster cluster) {
        EpGroupConfig config = EpGroupConfig.lowLatency().experts(GuideModel.EXPERTS)
                .maxTokensPerRank(GuideModel.MAX_TOKENS).maxTokenBytes(GuideModel.HIDDEN * 2)
                .layout(Layout.EXPERT_MAJOR).topK(GuideModel.TOP_K);
        AtomicBoolean stop = new AtomicBoolean();
        List<Integer> steps = cluster.call(rank -> {
            int[] made = new int[1];
            try (GuideModel model = new GuideModel(rank.device(), rank.rank())) {
                DecodeLoop.serve(rank.bootstrap(), config, GuideModel.HIDDEN, new Stoppable(new OneLayer(model),
                        rank.bootstrap(), rank.rank() == 0 ? stop : new AtomicBoolean(), made));
            }
            return made[0];
        });
        assertThat(steps.getFirst()).isGreaterThanOrEqualTo(3);
        assertThat(steps).containsOnly(steps.getFirst());
    }
}
