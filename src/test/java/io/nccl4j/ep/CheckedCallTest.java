package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.testing.MoeRank;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;

/** A call that was right is refused once something has changed, though its arguments are the same objects. */
@EmulatedRanks(1)
class CheckedCallTest {
    /** A layer whose three calls have been made twice, so that all is checked. */
    private static RuleBench.Calls checkedCalls(RuleBench bench, Layout layout) {
        RuleBench.Calls calls = bench.calls(RuleBench.lowLatency(layout));
        return calls.update().dispatch().combine().update().dispatch().combine().await();
    }

    @Test
    void anotherNumberOfRowsOfAnOutput(EmulatedCluster cluster) {
        RuleBench.run(cluster, bench -> {
            RuleBench.Calls calls = checkedCalls(bench, Layout.EXPERT_MAJOR);
            calls.outputs.tokens().rows(calls.outputs.tokens().rows() - 1);
            assertIllegalArgument(calls::dispatch);
            calls.outputs.tokens().rows(calls.outputs.tokens().rows() + 1);
            calls.dispatch();
            calls.combineOutputs.tokens().rows(RuleBench.TOKENS - 1);
            assertIllegalArgument(calls::combine);
            calls.combineOutputs.tokens().rows(RuleBench.TOKENS);
            calls.combine().await();
        });
    }

    @Test
    void anotherNumberOfTokensOfTheUpdate(EmulatedCluster cluster) {
        RuleBench.run(cluster, bench -> {
            RuleBench.Calls calls = checkedCalls(bench, Layout.RANK_MAJOR);
            calls.routing.rows(RuleBench.TOKENS / 2);
            calls.update();
            assertIllegalArgument(calls::dispatch);
            calls.inputs.tokens().rows(RuleBench.TOKENS / 2);
            assertIllegalArgument(calls::dispatch);
            calls.weights.rows(RuleBench.TOKENS / 2);
            calls.dispatch().await();
        });
    }

    @Test
    void aClosedWindow(EmulatedCluster cluster) {
        RuleBench.run(cluster, RuleBench.highThroughput(Layout.FLAT), (bench, calls) -> {
            EpTensor tokens = bench.windowed(DataType.BFLOAT16, RuleBench.TOKENS, RuleBench.HT_HIDDEN);
            calls.inputs = DispatchInputs.of(tokens, calls.weights);
            calls.update().dispatch().update().dispatch().await();
            tokens.window().close();
            assertIllegalState(calls::dispatch, "memory or a window of it is closed");
        });
    }

    @Test
    void aClosedStream(EmulatedCluster cluster) {
        RuleBench.run(cluster, bench -> {
            RuleBench.Calls calls = checkedCalls(bench, Layout.EXPERT_MAJOR);
            CudaStream other = CudaStream.create(bench.rank.device());
            calls.handle.update(calls.routing, other);
            other.await(MoeRank.LIMIT);
            other.close();
            assertIllegalState(() -> calls.handle.update(calls.routing, other), "is closed");
        });
    }

    @Test
    void aStreamOfAnotherThread(EmulatedCluster cluster) {
        RuleBench.run(cluster, bench -> {
            RuleBench.Calls calls = checkedCalls(bench, Layout.EXPERT_MAJOR);
            CudaStream foreign = CompletableFuture.supplyAsync(() -> CudaStream.create(bench.rank.device())).join();
            assertIllegalState(() -> calls.handle.update(calls.routing, foreign), "it belongs to thread");
            foreign.bindToCurrentThread();
            calls.handle.update(calls.routing, foreign);
            foreign.await(MoeRank.LIMIT);
            CompletableFuture.runAsync(foreign::bindToCurrentThread).join();
            assertIllegalState(() -> calls.handle.update(calls.routing, foreign), "it belongs to thread");
            foreign.bindToCurrentThread();
            foreign.close();
        });
    }

    @Test
    void aCaptureOnAnotherStream(EmulatedCluster cluster) {
        cluster.run(rank -> {
            try (RuleBench bench = new RuleBench(rank); CudaStream capturing = CudaStream.create(rank.device())) {
                RuleBench.Calls calls = checkedCalls(bench, Layout.EXPERT_MAJOR);
                try (CudaGraph graph = capturing.capture(() -> {
                    assertIllegalState(calls::update, "takes no part in the capture");
                    calls.handle.update(calls.routing, capturing);
                })) {
                    assertThat(graph.isClosed()).isFalse();
                }
                calls.update().dispatch().combine().await();
            }
        });
    }

}
