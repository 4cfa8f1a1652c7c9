package io.nccl4j.ep.graphs;

import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaEvent;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorWork;
import io.nccl4j.ep.CombineConfig;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.graph.EpHandlePool;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.EachLowLatencyKind;
import io.nccl4j.testing.ExpertFunction;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.Comparator;
import java.util.List;

/** Two micro-batches: what one sends is under way while the experts of the other compute. */
@EmulatedRanks(value = OverlapTest.RANKS, limitSeconds = 120)
class OverlapTest {
    static final int RANKS = 3;
    private static final int STEPS = 20;
    private static final String COMPUTE = "cudaLaunchHostFunc";

    private final CaseSeeds seeds = CaseSeeds.fresh();

    /** The two lanes of a rank with what orders them. */
    private static final class Lanes implements AutoCloseable {
        private final CudaStream main;
        private final CudaStream side;
        private final CudaEvent fork;
        private final CudaEvent join;
        private final MoeLayer a;
        private final MoeLayer b;

        Lanes(MoeRank self, EpHandlePool.Slot first, EpHandlePool.Slot second) {
            main = self.stream();
            side = CudaStream.create(self.device());
            fork = CudaEvent.create(self.device());
            join = CudaEvent.create(self.device());
            a = new MoeLayer(first.buffers(), ExpertFunction.scaling(), main);
            b = new MoeLayer(second.buffers(), ExpertFunction.scaling(), main);
        }

        /** One group, in which one send half may be pending: the experts compute on a stream of their own meanwhile. */
        void oneGroup(int tokensA, int tokensB) {
            a.handle().dispatchAsync(a.buffers(), tokensA, main);
            b.handle().dispatchAsync(b.buffers(), tokensB, DispatchConfig.defaults().sendOnly(), main);
            onSide(a);
            b.handle().complete();
            a.handle().combineAsync(a.buffers(), CombineConfig.defaults().sendOnly(), main);
            onSide(b);
            a.handle().complete();
            b.handle().combineAsync(b.buffers(), main);
        }

        private void onSide(MoeLayer layer) {
            fork.record(main);
            side.waitEvent(fork);
            layer.experts(side);
            join.record(side);
            main.waitEvent(join);
        }

        /** Two groups, each with a stream: both have a send half pending at the same time. */
        void twoGroups(int tokensA, int tokensB) {
            a.handle().dispatchAsync(a.buffers(), tokensA, DispatchConfig.defaults().sendOnly(), main);
            order(main, side);
            b.handle().dispatchAsync(b.buffers(), tokensB, DispatchConfig.defaults().sendOnly(), side);
            order(side, main);
            a.handle().complete();
            a.experts();
            a.handle().combineAsync(a.buffers(), CombineConfig.defaults().sendOnly(), main);
            order(main, side);
            b.handle().complete();
            b.experts(side);
            b.handle().combineAsync(b.buffers(), side);
            order(side, main);
            a.handle().complete();
        }

        private void order(CudaStream first, CudaStream second) {
            CudaEvent event = first == main ? fork : join;
            event.record(first);
            second.waitEvent(event);
        }

        @Override
        public void close() {
            a.close();
            b.close();
            join.close();
            fork.close();
            side.close();
        }
    }

    @EachLowLatencyKind
    void twoMicroBatchesOfOneGroup(LayerKind kind, EmulatedCluster cluster) {
        run(kind, seeds.draw(kind.space(RANKS)), false, cluster);
    }

    @EachLowLatencyKind
    void twoMicroBatchesOfTwoGroups(LayerKind kind, EmulatedCluster cluster) {
        run(kind, seeds.draw(kind.space(RANKS)), true, cluster);
    }

    private void run(LayerKind kind, EpCase model, boolean twoGroups, EmulatedCluster cluster) {
        List<EpCase> batches = seeds.batches(model, 2 * STEPS, kind.routings());
        cluster.run(rank -> overlap(rank, kind, batches, twoGroups));
    }

    private static void overlap(EmulatedRank rank, LayerKind kind, List<EpCase> batches, boolean twoGroups) {
        EpCase model = batches.getFirst();
        int most = model.shape().maxTokens();
        try (MoeRank self = MoeRank.of(rank, kind, model);
                EpHandlePool pool = pool(self, twoGroups);
                EpHandlePool.Slot first = pool.acquire(0);
                EpHandlePool.Slot second = pool.acquire(1);
                Lanes lanes = new Lanes(self, first, second)) {
            if (!twoGroups) {
                refuseSecondSend(lanes);
            }
            try (CudaGraph graph = self.stream().capture(() -> enqueue(lanes, most, most, twoGroups));
                    CudaGraphExec exec = graph.instantiate()) {
                for (int step = 0; step < STEPS; step++) {
                    EpCase forA = batches.get(2 * step);
                    EpCase forB = batches.get(2 * step + 1);
                    boolean replay = step % 2 == 1;
                    load(lanes, forA, forB);
                    int tokensA = replay ? most : lanes.a.count(forA);
                    int tokensB = replay ? most : lanes.b.count(forB);
                    rank.bootstrap().barrier();
                    if (rank.rank() == 0) {
                        Emulator.recordTimeline(4096);
                    }
                    rank.bootstrap().barrier();
                    if (replay) {
                        exec.launch(self.stream());
                    } else {
                        enqueue(lanes, tokensA, tokensB, twoGroups);
                    }
                    self.await();
                    lanes.a.verify(forA, tokensA);
                    lanes.b.verify(forB, tokensB);
                    List<EmulatorWork> timeline = timeline(rank);
                    checkTimeline(timeline, replay, twoGroups);
                    if (step == STEPS - 1 && rank.rank() == 0) {
                        print(timeline, twoGroups);
                    }
                }
            }
        }
    }

    private static EpHandlePool pool(MoeRank self, boolean twoGroups) {
        EpHandlePool.Builder builder = EpHandlePool.builder(self.group()).slots(2);
        return (twoGroups ? builder.groupPerSlot() : builder).build(self.rows());
    }

    private static void enqueue(Lanes lanes, int tokensA, int tokensB, boolean twoGroups) {
        if (twoGroups) {
            lanes.twoGroups(tokensA, tokensB);
        } else {
            lanes.oneGroup(tokensA, tokensB);
        }
    }

    private static void load(Lanes lanes, EpCase forA, EpCase forB) {
        for (MoeLayer layer : List.of(lanes.a, lanes.b)) {
            layer.load(layer == lanes.a ? forA : forB);
            layer.spoil();
        }
    }

    /** The device would trap; the capture that holds the first half alone is refused as well. */
    private static void refuseSecondSend(Lanes lanes) {
        assertIllegalState(() -> lanes.main.capture(() -> {
            lanes.a.handle().dispatchAsync(lanes.a.buffers(), 1, DispatchConfig.defaults().sendOnly(), lanes.main);
            lanes.b.handle().dispatchAsync(lanes.b.buffers(), 1, DispatchConfig.defaults().sendOnly(), lanes.main);
        }), "while a send half is pending in its group", "complete it first");
        assertIllegalState(() -> lanes.main.capture(() -> lanes.a.handle().dispatchAsync(lanes.a.buffers(), 1,
                DispatchConfig.defaults().sendOnly(), lanes.main)), "complete it in the same capture");
    }

    /** The emulator's record of what ran when on this device. */
    private static List<EmulatorWork> timeline(EmulatedRank rank) {
        List<EmulatorWork> work = Emulator.timeline().stream().filter(w -> w.device() == rank.device().ordinal())
                .filter(w -> w.operation().startsWith("ncclEp") || w.operation().equals(COMPUTE))
                .sorted(Comparator.comparingLong(EmulatorWork::startNanos)).toList();
        rank.bootstrap().barrier();
        return work;
    }

    /** As docs/graphs.md shows it, in microseconds. */
    private static void print(List<EmulatorWork> work, boolean twoGroups) {
        String batches = twoGroups ? "abaaabbba" : "abababab";
        System.out.println(twoGroups ? "two groups" : "one group");
        for (int i = 0; i < work.size(); i++) {
            EmulatorWork each = work.get(i);
            System.out.printf("| %d | %d | %s of %c |%n", (each.startNanos() - work.getFirst().startNanos()) / 1000,
                    (each.endNanos() - work.getFirst().startNanos()) / 1000, each.operation(), batches.charAt(i));
        }
    }

    private static void checkTimeline(List<EmulatorWork> work, boolean replay, boolean twoGroups) {
        assertThat(work).allSatisfy(w -> assertThat(w.fromGraph()).isEqualTo(replay));
        assertThat(work).extracting(EmulatorWork::operation)
                .containsExactly(twoGroups
                        ? new String[]{"ncclEpDispatch send", "ncclEpDispatch send", "ncclEpDispatch receive", COMPUTE,
                                "ncclEpCombine send", "ncclEpDispatch receive", COMPUTE, "ncclEpCombine",
                                "ncclEpCombine receive"}
                        : new String[]{"ncclEpDispatch", "ncclEpDispatch send", COMPUTE, "ncclEpDispatch receive",
                                "ncclEpCombine send", COMPUTE, "ncclEpCombine receive", "ncclEpCombine"});
        int[][] betweenHalves = twoGroups ? new int[][]{{1, 3, 5}, {4, 6, 8}} : new int[][]{{1, 2, 3}, {4, 5, 6}};
        for (int[] at : betweenHalves) {
            EmulatorWork send = work.get(at[0]);
            EmulatorWork compute = work.get(at[1]);
            EmulatorWork receive = work.get(at[2]);
            assertThat(compute.operation()).isEqualTo(COMPUTE);
            assertThat(compute.startNanos()).isGreaterThanOrEqualTo(send.endNanos());
            assertThat(compute.endNanos()).isLessThanOrEqualTo(receive.startNanos());
        }
    }
}
