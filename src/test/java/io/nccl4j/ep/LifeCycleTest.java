package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.NcclException;
import io.nccl4j.nccl.NcclResult;
import io.nccl4j.testing.MoeRank;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Objects are closed in the right order, or refuse; what fails leaves nothing behind. */
@EmulatedRanks
class LifeCycleTest {

    @Test
    void ownTensorsOfACaptureAreKeptToo(EmulatedCluster cluster) {
        RuleBench.run(cluster, RuleBench.lowLatency(Layout.EXPERT_MAJOR), (bench, calls) -> {
            CudaGraph graph = bench.stream.capture(() -> calls.update().dispatch().combine());
            List<EpTensor> used = List.of(calls.routing, calls.weights, calls.inputs.tokens(), calls.outputs.tokens(),
                    calls.info.expertCounters(), calls.combineInputs.tokens(), calls.combineOutputs.tokens());
            for (EpTensor tensor : used) {
                assertIllegalState(tensor.memory()::close, "CudaGraph#");
            }
            graph.close();
        });
    }

    @Test
    void aStructOfClosedMemoryIsRefused(EmulatedCluster cluster) {
        RuleBench.run(cluster, bench -> {
            RuleBench.Calls calls = bench.calls(RuleBench.lowLatency(Layout.EXPERT_MAJOR)).update().dispatch();
            bench.stream.await(MoeRank.LIMIT);
            calls.outputs.tokens().memory().close();
            assertIllegalState(calls::dispatch, "DispatchOutputs", "memory or a window of it is closed");
            assertIllegalState(() -> calls.outputs.tokens().rows(1));
            calls.routing.memory().close();
            assertIllegalState(calls::combine, "update again");
            assertIllegalState(calls::update, "closed");
        });
    }

    @Test
    void whatAGraphHasDoneCountsOnceItWasLaunched(EmulatedCluster cluster) {
        RuleBench.run(cluster, RuleBench.highThroughput(Layout.FLAT), (bench, ht) -> {
            try (CudaGraph graph = bench.stream.capture(ht::update); CudaGraphExec exec = graph.instantiate()) {
                assertIllegalState(ht::combine, "its graph was never launched");
                exec.launch(bench.stream);
                ht.dispatch().combine().await();
            }
            bench.rank.bootstrap().barrier();
            RuleBench.Calls ll = bench.calls(RuleBench.lowLatency(Layout.EXPERT_MAJOR));
            try (CudaGraph graph = bench.stream.capture(() -> ll.update().dispatch());
                    CudaGraphExec exec = graph.instantiate()) {
                assertIllegalState(ll::combine, "when the graph is launched");
                exec.launch(bench.stream);
                ll.combine().await();
            }
        });
    }

    @Test
    void countsAreNotReadInACapture(EmulatedCluster cluster) {
        RuleBench.run(cluster, RuleBench.lowLatency(Layout.EXPERT_MAJOR), (bench, calls) -> {
            EpBuffers buffers = bench.own(calls.handle.allocateBuffers(BufferConfig.of(512, DataType.BFLOAT16)));
            assertIllegalState(() -> bench.stream.capture(() -> buffers.readCountsForDebug(bench.stream)),
                    "counts stay on the device");
            calls.handle.dispatchAsync(buffers, 8, bench.stream);
            // As allocated, the routing is "none".
            assertThat(buffers.readCountsForDebug(bench.stream)).containsExactly(0, 0, 0, 0);
            bench.rank.bootstrap().barrier();
            buffers.routing().memory().copyFromAsync(calls.routing.memory(), calls.routing.byteSize(), bench.stream);
            calls.handle.dispatchAsync(buffers, 8, bench.stream);
            // All eight tokens of both ranks go to the first expert of each bench.rank.
            assertThat(buffers.readCountsForDebug(bench.stream)).containsExactly(16, 0, 0, 0);
            assertIllegalState(buffers::receivedTotal);
            assertIllegalState(buffers::sourceRankCounts);
        });
    }

    @Test
    void anErrorOfTheLibraryIsAnExceptionAndNoMore(EmulatedCluster cluster) {
        EmulatedCluster one = EmulatedCluster.of(1);
        RuleBench.run(one, bench -> {
            Emulator.presetResult("ncclEpCreateGroup", NcclResult.INVALID_USAGE.code());
            assertFailure(NcclException.class, () -> bench.group(RuleBench.lowLatency(Layout.EXPERT_MAJOR)),
                    "ncclEpCreateGroup");
            EpGroup group = bench.group(RuleBench.lowLatency(Layout.EXPERT_MAJOR));
            Emulator.presetResult("ncclEpInitHandle", NcclResult.INVALID_USAGE.code());
            assertFailure(NcclException.class, group::createHandle, "ncclEpInitHandle");
            RuleBench.Calls calls = bench.new Calls(group, bench.own(group.createHandle()));
            for (String function : List.of("ncclEpUpdateHandle", "ncclEpDispatch", "ncclEpCombine")) {
                Emulator.presetResult(function, NcclResult.INVALID_ARGUMENT.code());
                NcclException failure = (NcclException) catchThrowable(() -> calls.update().dispatch().combine());
                assertThat(failure.function()).isEqualTo(function);
                assertThat(failure.result()).isEqualTo(NcclResult.INVALID_ARGUMENT);
            }
            calls.update().dispatch().combine().await();
            Emulator.presetResult("ncclEpUpdateHandle", NcclResult.INVALID_ARGUMENT.code());
            assertFailure(NcclException.class, calls::update);
            assertIllegalState(calls::dispatch, "first update");
        });
    }

    @Test
    void callersMemoryServesAHandle(EmulatedCluster cluster) {
        RuleBench.run(cluster, bench -> {
            EpGroup group = bench.group(RuleBench.highThroughput(Layout.FLAT));
            long bytes = group.handleMemoryBytes(Layout.FLAT, RuleBench.TOPK);
            assertThat(bytes).isPositive();
            DeviceMemory memory = bench.own(DeviceMemory.allocate(bench.rank.device(), bytes));
            EpHandle handle = bench.own(group.createHandle(HandleConfig.defaults().memory(memory)));
            assertIllegalState(memory::close, "EpHandle#");
            bench.new Calls(group, handle).update().dispatch().combine().await();
        });
    }
}
