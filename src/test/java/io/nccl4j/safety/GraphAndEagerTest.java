package io.nccl4j.safety;

import static io.nccl4j.checks.Refusals.assertIllegalState;

import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;

/** A graph leaves its routing in the handle: eager calls that belong to another one are refused, not sent astray. */
class GraphAndEagerTest {
    private static final int RANKS = 2;

    @EachLayerKind
    @EmulatedRanks(RANKS)
    void combineBelongsToTheRoutingThatALaunchHasLeft(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 701), (world, layer) -> {
            int most = layer.buffers().maxTokens();
            EpCase batch = world.draw(RoutingKind.UNIFORM, 702);
            try (CudaGraphExec exec = layer.capture(most)) {
                layer.load(batch);
                layer.dispatch(most - 1);
                exec.launch(world.stream());
                assertIllegalState(() -> layer.combine(), shape.isLowLatency() ? "was not dispatched" : "update again");
                // The same number of tokens goes on where the graph has left off.
                layer.dispatch(most);
                layer.experts();
                exec.launch(world.stream());
                layer.combine();
                world.await();
                layer.verify(batch);
                for (int count : new int[]{most - 1, most}) {
                    layer.load(batch);
                    exec.launch(world.stream());
                    layer.dispatch(count);
                    layer.combine();
                    world.await();
                }
            }
        });
    }
}
