package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static io.nccl4j.checks.Refusals.assertThrown;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.nccl4j.cuda.CudaException;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.Fault;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.NcclException;
import io.nccl4j.nccl.NcclResult;
import io.nccl4j.testing.MoeRank;
import java.util.List;
import java.util.concurrent.FutureTask;
import org.junit.jupiter.api.Test;

/** Objects are closed in the right order, or refuse; what fails leaves nothing behind. */
@EmulatedRanks
class LifeCycleTest {
    @Test
    void whatIsInUseCannotBeClosed(EmulatedCluster cluster) {
        cluster.run(rank -> {
            RuleBench bench = new RuleBench(rank);
            EpGroup group = EpGroup.create(bench.communicator, RuleBench.lowLatency(Layout.EXPERT_MAJOR));
            EpHandle handle = group.createHandle();
            EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(RuleBench.LL_HIDDEN, DataType.BFLOAT16));
            assertIllegalState(bench.communicator::close, "in use by EpGroup#");
            assertIllegalState(group::close, "in use by EpHandle#");
            assertIllegalState(handle::close, "in use by EpBuffers#");
            assertIllegalState(buffers.tokens().memory()::close, "in use by EpBuffers#");
            buffers.close();
            assertIllegalState(buffers::tokens, "is closed");
            assertIllegalState(() -> handle.dispatchAsync(buffers, 1, bench.stream));
            handle.close();
            handle.close();
            assertThat(handle.isClosed()).isTrue();
            assertIllegalState(handle::complete, "is closed");
            group.close();
            assertIllegalState(group::createHandle, "is closed");
            assertThat(List.of(group.toString(), handle.toString(), buffers.toString()))
                    .allMatch(text -> text.contains("(closed)"));
            bench.close();
        });
    }

    @Test
    void aGraphKeepsWhatItUses(EmulatedCluster cluster) {
        for (Layout layout : new Layout[]{Layout.EXPERT_MAJOR, Layout.FLAT}) {
            cluster.run(rank -> {
                RuleBench bench = new RuleBench(rank);
                EpGroup group = EpGroup.create(bench.communicator,
                        layout == Layout.FLAT ? RuleBench.highThroughput(layout) : RuleBench.lowLatency(layout));
                EpHandle handle = group.createHandle();
                EpBuffers buffers = handle
                        .allocateBuffers(BufferConfig.of(layout == Layout.FLAT ? 64 : 512, DataType.BFLOAT16));
                CudaGraph graph = bench.stream.capture(() -> {
                    handle.dispatchAsync(buffers, 8, bench.stream);
                    handle.combineAsync(buffers, bench.stream);
                });
                CudaGraphExec exec = graph.instantiate();
                graph.close();
                for (AutoCloseable used : new AutoCloseable[]{buffers, handle, bench.stream}) {
                    assertIllegalState(used::close, "CudaGraphExec#");
                }
                assertIllegalState(group::close);
                exec.launch(bench.stream);
                bench.stream.await(MoeRank.LIMIT);
                rank.bootstrap().barrier();
                exec.close();
                buffers.close();
                handle.close();
                group.close();
                bench.close();
            });
        }
    }

    @Test
    void ownTensorsOfACaptureAreKeptToo(EmulatedCluster cluster) {
        RuleBench.run(cluster, bench -> {
            RuleBench.Calls calls = bench.calls(RuleBench.lowLatency(Layout.EXPERT_MAJOR));
            CudaGraph graph = bench.stream.capture(() -> calls.update().dispatch().combine());
            List<EpTensor> used = List.of(calls.routing, calls.weights, calls.inputs.tokens(), calls.outputs.tokens(),
                    calls.info.expertCounters(), calls.combineInputs.tokens(), calls.combineOutputs.tokens());
            for (EpTensor tensor : used) {
                assertIllegalState(tensor.memory()::close, "CudaGraph#");
            }
            graph.close();
            bench.rank.bootstrap().barrier();
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
            bench.rank.bootstrap().barrier();
        });
    }

    @Test
    void whatAGraphHasDoneCountsOnceItWasLaunched(EmulatedCluster cluster) {
        RuleBench.run(cluster, bench -> {
            RuleBench.Calls ht = bench.calls(RuleBench.highThroughput(Layout.FLAT));
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
            bench.rank.bootstrap().barrier();
        });
    }

    @Test
    void anotherThreadMayCloseOnlyAfterAHandOver(EmulatedCluster cluster) {
        RuleBench.run(cluster, bench -> {
            EpGroup group = EpGroup.create(bench.communicator, RuleBench.lowLatency(Layout.EXPERT_MAJOR));
            EpHandle handle = group.createHandle();
            assertThrown(IllegalStateException.class, onAnotherThread(handle::close), "call bindToCurrentThread()");
            assertThrown(IllegalStateException.class, onAnotherThread(group::close), "call bindToCurrentThread()");
            assertThat(handle.isClosed()).isFalse();
            assertThat(onAnotherThread(() -> {
                group.bindToCurrentThread();
                handle.close();
            })).isNull();
            // The new owner has ended: whoever closes takes over.
            group.close();
        });
    }

    private static Throwable onAnotherThread(Runnable body) throws InterruptedException {
        FutureTask<Throwable> task = new FutureTask<>(() -> catchThrowable(body::run));
        Thread thread = Thread.ofPlatform().start(task);
        thread.join(MoeRank.LIMIT);
        return task.resultNow();
    }

    @Test
    void creationAndCloseAreRefusedInACapture(EmulatedCluster cluster) {
        RuleBench.run(cluster, bench -> {
            RuleBench.Calls calls = bench.calls(RuleBench.lowLatency(Layout.EXPERT_MAJOR).mask());
            List<Runnable> refused = List.of(
                    () -> EpGroup.create(bench.communicator, RuleBench.lowLatency(Layout.EXPERT_MAJOR)),
                    calls.group::createHandle, calls.handle::close, calls.group::close,
                    calls.group::bindToCurrentThread,
                    () -> calls.handle.allocateBuffers(BufferConfig.of(512, DataType.BFLOAT16)),
                    () -> calls.group.maskClean(bench.stream),
                    () -> calls.group.maskUpdate(RankMask.all(2), bench.stream),
                    () -> calls.group.maskQuery(bench.stream));
            for (Runnable call : refused) {
                assertIllegalState(() -> bench.stream.capture(call), "cannot be captured into a graph");
                assertThat(bench.stream.isCapturing()).isFalse();
            }
            calls.update().dispatch().combine().await();
            bench.rank.bootstrap().barrier();
        });
    }

    @Test
    void countsAreNotReadInACapture(EmulatedCluster cluster) {
        RuleBench.run(cluster, bench -> {
            RuleBench.Calls calls = bench.calls(RuleBench.lowLatency(Layout.EXPERT_MAJOR));
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
            bench.rank.bootstrap().barrier();
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
    @EmulatedRanks(allowLeaks = true)
    void afterAnAbortNothingIsDestroyed(EmulatedCluster cluster) {
        long groups = Emulator.callCount("ncclEpGroupDestroy");
        long handles = Emulator.callCount("ncclEpHandleDestroy");
        RuleBench.run(cluster, bench -> {
            RuleBench.Calls calls = bench.calls(RuleBench.lowLatency(Layout.EXPERT_MAJOR)).update().dispatch().combine()
                    .await();
            bench.rank.bootstrap().barrier();
            bench.communicator.abort();
            assertIllegalState(calls::dispatch, "aborted");
        });
        assertThat(Emulator.callCount("ncclEpGroupDestroy")).isEqualTo(groups);
        assertThat(Emulator.callCount("ncclEpHandleDestroy")).isEqualTo(handles);
    }

    @Test
    @EmulatedRanks(allowLeaks = true)
    void afterADeviceFailureEverythingFailsFastAndNothingIsDestroyed(EmulatedCluster cluster) {
        long groups = Emulator.callCount("ncclEpGroupDestroy");
        EmulatedCluster.of(1).allowLeaks().run(rank -> {
            try (RuleBench bench = new RuleBench(rank)) {
                RuleBench.Calls calls = bench.calls(RuleBench.highThroughput(Layout.FLAT)).update().dispatch().combine()
                        .await();
                Emulator.inject(new Fault.FailLaunch(rank.device().ordinal(), 1));
                assertFailure(CudaException.class, () -> calls.weights.memory().fillAsync((byte) 0, bench.stream));
                long updates = Emulator.callCount("ncclEpUpdateHandle");
                assertThatThrownBy(calls::update).isInstanceOf(CudaException.class)
                        .hasMessageContaining("has failed before").hasCauseInstanceOf(CudaException.class);
                assertThat(Emulator.callCount("ncclEpUpdateHandle")).isEqualTo(updates);
            }
            rank.device().reset();
        });
        assertThat(Emulator.callCount("ncclEpGroupDestroy")).isEqualTo(groups);
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
            bench.rank.bootstrap().barrier();
        });
    }
}
