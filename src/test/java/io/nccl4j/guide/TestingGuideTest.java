package io.nccl4j.guide;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedClusterException;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.Fault;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.Layout;
import io.nccl4j.ep.RankMask;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The examples of docs/testing.md. */
class TestingGuideTest {
    private static final EpGroupConfig CONFIG = EpGroupConfig.lowLatency().experts(GuideModel.EXPERTS)
            .maxTokensPerRank(GuideModel.MAX_TOKENS).maxTokenBytes(GuideModel.HIDDEN * 2).layout(Layout.EXPERT_MAJOR)
            .topK(GuideModel.TOP_K);

    /** The server under test. */
    private static final class MyServer implements AutoCloseable {
        private final GuideModel model;
        private final EmulatedRank rank;

        MyServer(EmulatedRank rank) {
            this.rank = rank;
            model = new GuideModel(rank.device(), rank.rank());
        }

        int serve() {
            try (Communicator comm = Communicator.init(rank.bootstrap(), rank.device());
                    CudaStream stream = CudaStream.create(rank.device());
                    EpGroup group = EpGroup.create(comm, CONFIG);
                    EpHandle handle = group.createHandle();
                    EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(GuideModel.HIDDEN, DataType.BFLOAT16))) {
                int steps = 0;
                while (model.nextBatch()) {
                    model.load(buffers, stream);
                    model.attention(0, buffers, stream);
                    handle.dispatchAsync(buffers, GuideModel.MAX_TOKENS, stream);
                    model.experts(0, buffers, stream);
                    handle.combineAsync(buffers, stream);
                    model.use(buffers, stream);
                    steps++;
                }
                return steps;
            }
        }

        @Override
        public void close() {
            model.close();
        }
    }

    // example serves
    @Test
    @EmulatedRanks(4) // fails on wrong calls of NCCL EP, on leaks, and after 60 seconds
    void servesTwentyBatches(EmulatedCluster cluster) {
        long dispatches = Emulator.callCount("ncclEpDispatch"); // since the emulator was loaded
        long handles = Emulator.callCount("ncclEpInitHandle");
        List<Integer> steps = cluster.call(rank -> { // on a thread per rank; returns what each gives back
            try (MyServer server = new MyServer(rank)) {
                return server.serve();
            }
        });
        assertThat(steps).containsExactly(20, 20, 20, 20);
        assertThat(Emulator.callCount("ncclEpDispatch") - dispatches).isEqualTo(4 * 20);
        assertThat(Emulator.callCount("ncclEpInitHandle") - handles).isEqualTo(4); // none per step
    }
    // end

    // example rows
    @Test
    @EmulatedRanks(4)
    void everyRowOfAStepIsRight(EmulatedCluster cluster) {
        LayerKind kind = LayerKind.LL_EXPERT_MAJOR;
        EpCase model = kind.draw(4, 1); // shape, tokens, routing and weights, by a seed
        MoeRank.run(cluster, kind, model, (rank, layer) -> {
            try (CudaGraphExec step = layer.capture(layer.buffers().maxTokens())) {
                for (RoutingKind routing : kind.routings()) { // uniform, skewed, with holes, ...
                    EpCase batch = model.redraw(routing, 2);
                    rank.checkStep(layer, batch); // load, dispatch, experts, combine, verify
                    rank.checkStep(layer, batch, tokens -> step.launch(rank.stream())); // or a step of yours
                }
            }
        });
    }
    // end

    // example silent
    @Test
    @EmulatedRanks(value = 2, allowLeaks = true) // a group without one of its ranks cannot be destroyed
    void goesOnWithoutASilentRank(EmulatedCluster cluster) {
        EpGroupConfig config = EpGroupConfig.lowLatency().experts(4).maxTokensPerRank(4).maxTokenBytes(1024).topK(2)
                .layout(Layout.EXPERT_MAJOR).mask().timeout(Duration.ofMillis(300));
        Emulator.inject(new Fault.Silence(1, 3)); // from its third operation on, nobody hears of rank 1
        List<RankMask> masks = cluster.call(rank -> {
            try (Communicator comm = Communicator.init(rank.bootstrap(), rank.device());
                    CudaStream stream = CudaStream.create(rank.device());
                    EpGroup group = EpGroup.create(comm, config);
                    EpHandle handle = group.createHandle();
                    EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(512, DataType.BFLOAT16))) {
                for (int step = 0; step < 3; step++) {
                    handle.dispatchAsync(buffers, 4, stream);
                    handle.combineAsync(buffers, stream);
                }
                RankMask mask = group.maskQuery(stream); // waits for the steps
                assertThat(group.asyncError()).isEqualTo(rank.rank() == 0);
                comm.abandon("a rank is silent");
                return mask;
            }
        });
        assertThat(masks.getFirst()).isEqualTo(RankMask.all(2).without(1));
    }
    // end

    @Test
    @EmulatedRanks(value = 4, allowMisuse = true, allowLeaks = true)
    void aWrongExpertIsNamed(EmulatedCluster cluster) {
        // example reason
        assertThatThrownBy(() -> cluster.run(rank -> {
            try (MyServer server = new MyServer(rank)) {
                server.model.routeTo(99); // of 8 experts
                server.serve();
            }
        })).isInstanceOf(EmulatedClusterException.class).hasStackTraceContaining("expert 99");
        // end
    }
}
