package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import org.junit.jupiter.api.Test;

@EmulatedRanks
class GrowingBufferTest {
    @Test
    void growthMakesGraphsInvalid(EmulatedCluster cluster) {
        RuleBench.run(cluster, RuleBench.lowLatency(Layout.RANK_MAJOR).growingRdmaBuffer(), (bench, calls) -> {
            try (CudaGraph graph = bench.stream.capture(() -> calls.update().dispatch().combine());
                    CudaGraphExec exec = graph.instantiate()) {
                exec.launch(bench.stream);
                calls.await();
                bench.rank.bootstrap().barrier();
                EpHandle same = bench.own(calls.group.createHandle());
                exec.launch(bench.stream);
                calls.await();
                bench.rank.bootstrap().barrier();
                assertThat(same.layout()).isEqualTo(Layout.RANK_MAJOR);
                bench.own(calls.group.createHandle(Layout.EXPERT_MAJOR, 4, HandleConfig.defaults()));
                assertIllegalState(() -> exec.launch(bench.stream), "RDMA buffer", "capture again");
                calls.update().dispatch().combine().await();
                bench.rank.bootstrap().barrier();
            }
            try (CudaGraph graph = bench.stream.capture(() -> calls.update().dispatch().combine());
                    CudaGraphExec exec = graph.instantiate()) {
                exec.launch(bench.stream);
                calls.await();
                bench.rank.bootstrap().barrier();
            }
        });
    }

    @Test
    void theBufferIsExactUnlessItGrows(EmulatedCluster cluster) {
        Emulator.logCalls(1 << 15);
        RuleBench.run(cluster, bench -> {
            EpGroup group = bench.group(RuleBench.lowLatency(Layout.EXPERT_MAJOR));
            assertThat(group.sizing().rdmaBufferBytes()).isPositive();
            bench.own(group.createHandle());
        });
        String expected = Long.toString(EpSizing.of(RuleBench.lowLatency(Layout.EXPERT_MAJOR), 2).rdmaBufferBytes());
        assertThat(Emulator.calls()).filteredOn(call -> call.function().equals("ncclEpCreateGroup")).hasSize(2)
                .allMatch(call -> expected.equals(call.argument("config.rdma_buffer_size")));
    }
}
