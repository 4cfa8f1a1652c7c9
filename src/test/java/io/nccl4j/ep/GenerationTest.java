package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatedRanks;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The generations of the library: how they are told apart, and the structs that are passed. */
class GenerationTest {
    @Test
    @EmulatedRanks
    void theProbeKnowsApiVersion2() {
        assertThat(EpGeneration.ofLibrary()).isEqualTo(EpGeneration.API_V2);
        assertThat(EpGeneration.libraryVersion()).isEqualTo(100);
    }

    @Test
    @EmulatedRanks
    void structsHaveTheSizesOfApiVersion2(EmulatedCluster cluster) {
        Emulator.logCalls(1000);
        cluster.run(rank -> {
            try (RuleBench bench = new RuleBench(rank)) {
                RuleBench.Calls calls = bench
                        .calls(RuleBench.highThroughput(Layout.FLAT).overflow(OverflowPolicy.DROP));
                calls.dispatchConfig = DispatchConfig.defaults();
                calls.combineConfig = CombineConfig.defaults();
                calls.update().dispatch().combine().await();
                rank.bootstrap().barrier();
            }
        });
        assertThat(argument("ncclEpCreateGroup", "config.size")).containsOnly("112");
        assertThat(argument("ncclEpCreateGroup", "config.overflow_policy")).containsOnly("2");
        assertThat(argument("ncclEpDispatch", "config.size")).containsOnly("24");
        assertThat(argument("ncclEpCombine", "config.size")).containsOnly("20");
    }

    private static List<String> argument(String function, String path) {
        return Emulator.calls().stream().filter(call -> call.function().equals(function))
                .map(call -> call.argument(path)).toList();
    }
}
