package io.nccl4j.testing;

import static io.nccl4j.checks.Refusals.assertFailure;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.Mismatch;
import io.nccl4j.oracle.RoutingKind;
import java.nio.ByteBuffer;
import java.util.List;

@EmulatedRanks(4)
class MoeLayerTest {
    /** Duplicates are for low latency only. */
    private static final List<RoutingKind> ROUTINGS = List.of(RoutingKind.UNIFORM, RoutingKind.SKEWED,
            RoutingKind.CONCENTRATED, RoutingKind.HOLES, RoutingKind.NOTHING);

    @EachLayerKind
    void stepsAreRightEagerlyAsGraphsAndByExplicitCalls(LayerKind kind, EmulatedCluster cluster) {
        EpCase model = kind.draw(4, 1);
        MoeRank.run(cluster, kind, model, (moe, layer) -> {
            LayerCalls calls = layer.rows().calls();
            EpHandle handle = layer.handle();
            try (CudaGraphExec graph = layer.capture(model.shape().maxTokens())) {
                for (RoutingKind routing : ROUTINGS) {
                    EpCase batch = model.redraw(routing, 2);
                    layer.runAndVerify(batch);
                    List<List<ByteBuffer>> received = layer.rows().received();
                    layer.load(batch);
                    layer.spoil();
                    moe.await();
                    moe.bootstrap().barrier();
                    graph.launch(moe.stream());
                    moe.await();
                    layer.rows().verifyAll(batch);
                    assertThat(layer.rows().received()).isEqualTo(received);
                    layer.runAndVerify(batch, layer.count(batch), () -> explicit(layer, calls, handle, moe.stream()));
                    moe.bootstrap().barrier();
                }
            }
        });
    }

    private static void explicit(MoeLayer layer, LayerCalls calls, EpHandle handle, CudaStream stream) {
        calls.update(handle, stream);
        calls.dispatch(handle, stream);
        layer.experts();
        calls.combine(handle, stream);
    }

    @EachLayerKind
    void whatIsWrongIsNoticed(LayerKind kind, EmulatedCluster cluster) {
        EpCase model = kind.draw(4, 3);
        EpCase batch = model.redraw(RoutingKind.UNIFORM, 4);
        MoeRank.run(cluster, kind, model, (moe, layer) -> {
            layer.runAndVerify(batch);
            // Another batch, other experts, and no combine.
            boolean sends = layer.count(batch) > 0;
            EpCase other = model.redraw(RoutingKind.UNIFORM, 5);
            assertFailure(Mismatch.class, () -> layer.verify(other));
            layer.load(batch);
            layer.dispatch(layer.count(batch));
            layer.experts((expert, column, x) -> -x);
            layer.combine();
            moe.await();
            if (sends) {
                assertFailure(Mismatch.class, () -> layer.verify(batch), "combined");
            }
        });
    }
}
