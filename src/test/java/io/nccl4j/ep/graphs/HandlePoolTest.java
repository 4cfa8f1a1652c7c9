package io.nccl4j.ep.graphs;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.cuda.CudaException;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.emulator.Fault;
import io.nccl4j.ep.graph.EpHandlePool;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.ExpertFunction;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

@EmulatedRanks(1)
class HandlePoolTest {
    private static final int RANKS = 2;
    private static final int STEPS = 12;

    private final CaseSeeds seeds = CaseSeeds.fresh();

    @EachLayerKind
    @EmulatedRanks(value = RANKS, limitSeconds = 120)
    void stepsTakeTurnsOnTheSlots(LayerKind kind, EmulatedCluster cluster) {
        List<EpCase> batches = seeds.batches(seeds.draw(kind.space(RANKS)), STEPS, kind.routings());
        cluster.run(rank -> {
            try (MoeRank self = MoeRank.of(rank, kind, batches.getFirst()); EpHandlePool pool = pool(self, 3)) {
                runSteps(self, pool, batches);
                assertThat(lane(pool, 2)).isEqualTo(lane(pool, 0)).isEqualTo(self.group().toString());
            }
        });
    }

    private static EpHandlePool pool(MoeRank self, int slots) {
        return EpHandlePool.builder(self.group()).slots(slots).build(self.rows());
    }

    private static String lane(EpHandlePool pool, int lane) {
        try (EpHandlePool.Slot slot = pool.acquire(lane)) {
            return slot.handle().group().toString();
        }
    }

    /** All steps are enqueued before the first result is looked at, so that slots are in use at the same time. */
    private static void runSteps(MoeRank self, EpHandlePool pool, List<EpCase> batches) {
        List<MoeLayer> layers = new ArrayList<>();
        for (int lane = 0; lane < pool.size(); lane++) {
            try (EpHandlePool.Slot slot = pool.acquire(lane)) {
                layers.add(new MoeLayer(slot.buffers(), ExpertFunction.scaling(), self.stream()));
            }
        }
        try {
            for (int step = 0; step < batches.size(); step += pool.size()) {
                List<EpCase> some = batches.subList(step, step + pool.size());
                for (int i = 0; i < some.size(); i++) {
                    layers.get(i).load(some.get(i));
                    layers.get(i).spoil();
                }
                for (int i = 0; i < some.size(); i++) {
                    try (EpHandlePool.Slot slot = pool.acquire()) {
                        assertThat(slot.index()).isEqualTo(i);
                        MoeLayer layer = layers.get(slot.index());
                        assertThat(slot.buffers()).isSameAs(layer.buffers());
                        layer.enqueue(layer.count(some.get(i)));
                    }
                }
                self.await();
                for (int i = 0; i < some.size(); i++) {
                    layers.get(i).verify(some.get(i));
                }
            }
        } finally {
            layers.forEach(MoeLayer::close);
        }
    }

    private EpCase small() {
        return seeds.draw(LayerKind.LL_EXPERT_MAJOR.space(1));
    }

    @Test
    void anExhaustedPoolThrows(EmulatedCluster cluster) {
        EpCase model = small();
        cluster.run(rank -> {
            try (MoeRank self = MoeRank.of(rank, LayerKind.LL_EXPERT_MAJOR, model); EpHandlePool pool = pool(self, 2)) {
                EpHandlePool.Slot first = pool.acquire();
                EpHandlePool.Slot second = pool.acquire(1);
                assertIllegalState(pool::acquire, "slot 1", "still in use", "larger than 2");
                assertIllegalState(() -> pool.acquire(0), "slot 0");
                assertIllegalArgument(() -> pool.acquire(2), "lanes 0 to 1");
                assertIllegalState(pool::close, "slot 0", "is in use");
                first.close();
                assertIllegalState(first::handle, "not acquired");
                // Slots take turns: although slot 0 is free, it is the turn of slot 1.
                assertIllegalState(pool::acquire, "slot 1");
                second.close();
                try (EpHandlePool.Slot again = pool.acquire()) {
                    assertThat(again.index()).isEqualTo(1);
                }
            }
        });
    }

    @Test
    void aPoolThatWaitsIsWokenOrGivesUp(EmulatedCluster cluster) {
        EpCase model = small();
        cluster.run(rank -> {
            try (MoeRank self = MoeRank.of(rank, LayerKind.LL_EXPERT_MAJOR, model);
                    EpHandlePool pool = EpHandlePool.builder(self.group()).slots(1).waitAtMost(Duration.ofMillis(200))
                            .build(model.hidden(), LayerKind.type(model.format()))) {
                EpHandlePool.Slot first = pool.acquire();
                long begin = System.nanoTime();
                assertFailure(WaitTimeoutException.class, pool::acquire, "200 ms");
                assertThat(System.nanoTime() - begin).isGreaterThanOrEqualTo(TimeUnit.MILLISECONDS.toNanos(200));
                CompletableFuture<Void> other = CompletableFuture.runAsync(first::close);
                try (EpHandlePool.Slot again = pool.acquire()) {
                    assertThat(again.index()).isZero();
                }
                other.get(1, TimeUnit.SECONDS);
            }
        });
    }

    @Test
    void aPoolIsClosedAsAWholeOrNotAtAll(EmulatedCluster cluster) {
        EpCase model = small();
        MoeRank.run(cluster, LayerKind.LL_EXPERT_MAJOR, model, (self, unused) -> {
            long handles = Emulator.usage(self.device()).handles();
            EpHandlePool pool = pool(self, 2);
            EpHandlePool.Slot slot = pool.acquire(0);
            assertIllegalState(slot.buffers()::close, "EpHandlePool#");
            assertIllegalState(self.group()::close, "EpHandlePool#");
            CudaGraph graph = self.stream().capture(() -> {
                slot.handle().dispatchAsync(slot.buffers(), 1, self.stream());
                assertIllegalState(pool::close, "capture");
                slot.handle().combineAsync(slot.buffers(), self.stream());
            });
            slot.close();
            EmulatorUsage before = Emulator.usage(self.device());
            assertIllegalState(pool::close, "CudaGraph#");
            assertThat(pool.isClosed()).isFalse();
            assertThat(Emulator.usage(self.device()).leakedSince(before)).isEmpty();
            assertThat(before.leakedSince(Emulator.usage(self.device()))).isEmpty();
            graph.close();
            assertThatThrownBy(() -> CompletableFuture.runAsync(pool::close).get(5, TimeUnit.SECONDS))
                    .hasRootCauseInstanceOf(IllegalStateException.class).hasMessageContaining("bindToCurrentThread");
            pool.close();
            assertThat(Emulator.usage(self.device()).handles()).isEqualTo(handles);
            assertIllegalState(pool::acquire, "is closed");
        });
    }

    @Test
    void aPoolThatCannotBeBuiltLeavesNothing(EmulatedCluster cluster) {
        EpCase model = small();
        MoeRank.run(cluster, LayerKind.LL_EXPERT_MAJOR, model, (self, unused) -> {
            EmulatorUsage before = Emulator.usage(self.device());
            Emulator.inject(new Fault.FailAllocation(self.device().ordinal(), 12));
            assertFailure(CudaException.class, () -> pool(self, 4), "cudaErrorMemoryAllocation");
            assertThat(Emulator.usage(self.device()).leakedSince(before)).isEmpty();
            assertIllegalArgument(() -> EpHandlePool.builder(self.group()).slots(0).build(512, DataType.BFLOAT16),
                    "slots is 0");
            pool(self, 4).close();
        });
    }
}
