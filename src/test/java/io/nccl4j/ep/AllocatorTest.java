package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import org.junit.jupiter.api.Test;

@EmulatedRanks
class AllocatorTest {
    /** Counts, and can be made to fail. */
    private static final class Counting implements EpAllocator {
        final CudaDevice device;
        final Map<Long, DeviceMemory> live = new ConcurrentHashMap<>();
        volatile boolean failing;
        volatile int freed;

        Counting(CudaDevice device) {
            this.device = device;
        }

        @Override
        public long allocate(long bytes) {
            if (failing) {
                throw new UnsupportedOperationException("no memory for you");
            }
            DeviceMemory memory = DeviceMemory.allocate(device, bytes);
            live.put(memory.address(), memory);
            return memory.address();
        }

        @Override
        public void free(long address) {
            freed++;
            live.remove(address).close();
            if (failing) {
                throw new UnsupportedOperationException("freed, but grumbling");
            }
        }
    }

    @Test
    void groupsAndHandlesTakeTheirMemoryFromIt(EmulatedCluster cluster) {
        cluster.run(rank -> {
            Counting counting = new Counting(rank.device());
            try (RuleBench bench = new RuleBench(rank)) {
                RuleBench.Calls calls = bench.calls(RuleBench.highThroughput(Layout.FLAT).allocator(counting));
                assertThat(counting.live).hasSizeGreaterThan(1);
                calls.update().dispatch().combine().await();
                rank.bootstrap().barrier();
            }
            assertThat(counting.live).isEmpty();
            assertThat(counting.freed).isPositive();
        });
    }

    @Test
    void anExceptionUndoesTheCreationOfAGroup(EmulatedCluster cluster) {
        cluster.run(rank -> {
            Counting counting = new Counting(rank.device());
            counting.failing = true;
            try (RuleBench bench = new RuleBench(rank)) {
                assertThatThrownBy(() -> bench.group(RuleBench.lowLatency(Layout.EXPERT_MAJOR).allocator(counting)))
                        .isInstanceOf(IllegalStateException.class).hasMessageContaining("no memory for you")
                        .hasCauseInstanceOf(UnsupportedOperationException.class);
                rank.bootstrap().barrier();
            }
        });
    }

    @Test
    void h10AFailureIsKeptAlsoIfTheLoggerFails(EmulatedCluster cluster) {
        java.util.logging.Logger log = java.util.logging.Logger.getLogger("io.nccl4j.ep");
        Handler broken = new Handler() {
            @Override
            public void publish(LogRecord record) {
                if (log.getName().equals(record.getLoggerName())) {
                    throw new StackOverflowError("the logger");
                }
            }

            @Override
            public void flush() {
            }

            @Override
            public void close() {
            }
        };
        log.addHandler(broken);
        log.setUseParentHandlers(false);
        try {
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
            log.removeHandler(broken);
        }
    }

    @Test
    void anExceptionUndoesTheCreationOfAHandle(EmulatedCluster cluster) {
        cluster.run(rank -> {
            Counting counting = new Counting(rank.device());
            try (RuleBench bench = new RuleBench(rank)) {
                EpGroup group = bench.group(RuleBench.lowLatency(Layout.EXPERT_MAJOR).allocator(counting));
                counting.failing = true;
                assertThatThrownBy(group::createHandle).isInstanceOf(IllegalStateException.class)
                        .hasMessageContaining("no memory for you");
                counting.failing = false;
                bench.new Calls(group, bench.own(group.createHandle())).update().dispatch().combine().await();
                rank.bootstrap().barrier();
            }
            assertThat(counting.live).isEmpty();
        });
    }

    @Test
    void anExceptionOfFreeIsThrownByClose(EmulatedCluster cluster) {
        cluster.run(rank -> {
            Counting counting = new Counting(rank.device());
            try (RuleBench bench = new RuleBench(rank)) {
                EpGroup group = bench.group(RuleBench.lowLatency(Layout.EXPERT_MAJOR).allocator(counting));
                EpHandle handle = group.createHandle();
                counting.failing = true;
                assertThatThrownBy(handle::close).isInstanceOf(IllegalStateException.class)
                        .hasMessageContaining("freed, but grumbling");
                assertThat(handle.isClosed()).isTrue();
                counting.failing = false;
                rank.bootstrap().barrier();
            }
            assertThat(counting.live).isEmpty();
        });
    }

    @Test
    void nativeFunctionsServeAsWell(EmulatedCluster cluster) {
        // The runtime's own functions take their arguments in the same registers and ignore the third.
        long allocate = CudaRuntime.cudaMalloc$address().address();
        long free = CudaRuntime.cudaFree$address().address();
        RuleBench.run(cluster, bench -> {
            bench.calls(RuleBench.lowLatency(Layout.EXPERT_MAJOR).allocator(allocate, free, 0)).update().dispatch()
                    .combine().await();
            bench.rank.bootstrap().barrier();
        });
        assertThatThrownBy(() -> RuleBench.lowLatency(Layout.EXPERT_MAJOR).allocator(allocate, 0, 0))
                .isInstanceOf(IllegalArgumentException.class).hasMessageContaining("must both be given");
    }
}
