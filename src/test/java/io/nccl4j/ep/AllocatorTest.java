package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.checks.LogListener;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import org.junit.jupiter.api.Test;

@EmulatedRanks
class AllocatorTest {

    @Test
    void groupsAndHandlesTakeTheirMemoryFromIt(EmulatedCluster cluster) {
        cluster.run(rank -> {
            DeviceAllocator counting = new DeviceAllocator(rank.device());
            try (RuleBench bench = new RuleBench(rank)) {
                RuleBench.Calls calls = bench.calls(RuleBench.highThroughput(Layout.FLAT).allocator(counting));
                assertThat(counting.live()).isGreaterThan(1);
                calls.update().dispatch().combine().await();
                rank.bootstrap().barrier();
            }
            assertThat(counting.live()).isZero();
        });
    }

    @Test
    void h10AFailureIsKeptAlsoIfTheLoggerFails(EmulatedCluster cluster) {
        java.util.logging.Logger log = java.util.logging.Logger.getLogger("io.nccl4j.ep");
        log.setUseParentHandlers(false);
        try (LogListener broken = new LogListener(log.getName(), told -> {
            if (log.getName().equals(told.getLoggerName())) {
                throw new StackOverflowError("the logger");
            }
        })) {
            cluster.run(rank -> {
                Communicator communicator = Communicator.init(rank.bootstrap(), rank.device());
                for (Error failure : new Error[]{new OutOfMemoryError("no heap"), new StackOverflowError("deep")}) {
                    EpAllocator allocator = new EpAllocator() {
                        @Override
                        public long allocate(long bytes) {
                            throw failure;
                        }

                        @Override
                        public void free(long address) {
                            throw failure;
                        }
                    };
                    assertThatThrownBy(() -> EpGroup.create(communicator,
                            RuleBench.lowLatency(Layout.EXPERT_MAJOR).allocator(allocator))).hasRootCause(failure);
                }
                rank.bootstrap().barrier();
                communicator.close();
            });
        } finally {
            log.setUseParentHandlers(true);
        }
    }

    @Test
    void nativeFunctionsServeAsWell(EmulatedCluster cluster) {
        // The runtime's own functions take their arguments in the same registers and ignore the third.
        long allocate = CudaRuntime.cudaMalloc$address().address();
        long free = CudaRuntime.cudaFree$address().address();
        RuleBench.run(cluster, bench -> {
            bench.calls(RuleBench.lowLatency(Layout.EXPERT_MAJOR).allocator(allocate, free, 0)).update().dispatch()
                    .combine().await();
        });
        assertIllegalArgument(() -> RuleBench.lowLatency(Layout.EXPERT_MAJOR).allocator(allocate, 0, 0),
                "must both be given");
    }
}
