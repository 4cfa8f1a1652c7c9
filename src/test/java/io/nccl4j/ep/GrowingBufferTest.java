package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import org.junit.jupiter.api.Test;

@EmulatedRanks
class GrowingBufferTest {

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
