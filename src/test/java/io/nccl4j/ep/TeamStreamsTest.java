package io.nccl4j.ep;

import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaEvent;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.EachHighThroughputKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.concurrent.CountDownLatch;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;

/** Handles of one group over several teams, on two streams. */
class TeamStreamsTest {
    /** Two layers of one group, each with a stream, and an event between them. */
    private static final class Lanes implements AutoCloseable {
        final EmulatedRank rank;
        final EpCase batch;
        final MoeRank moe;
        final MoeLayer[] layers;
        final CudaStream[] streams;
        final CudaEvent event;
        final CountDownLatch open = new CountDownLatch(1);

        Lanes(EmulatedRank rank, LayerKind kind, EpCase batch) {
            this.rank = rank;
            this.batch = batch;
            moe = MoeRank.of(rank, kind, batch);
            streams = new CudaStream[]{moe.stream(), moe.own(CudaStream.create(rank.device()))};
            layers = new MoeLayer[]{moe.layer(), layer(streams[1])};
            event = moe.own(CudaEvent.create(rank.device()));
            for (MoeLayer layer : layers) {
                layer.load(batch);
            }
            await(0);
            await(1);
            rank.bootstrap().barrier();
        }

        private MoeLayer layer(CudaStream stream) {
            return moe.own(new MoeLayer(moe.own(moe.group().createHandle()), moe.rows(), stream));
        }

        void enqueue(int lane) {
            layers[lane].enqueue(layers[lane].count(batch));
        }

        /** Work that the stream does not get past before {@link #open}. */
        void hold(int lane) {
            streams[lane].launchHostFunction(() -> {
                try {
                    open.await();
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            });
        }

        void await(int lane) {
            streams[lane].await(MoeRank.LIMIT);
        }

        void order(int first, int second) {
            event.record(streams[first]);
            streams[second].waitEvent(event);
        }

        CudaGraphExec capture(int lane) {
            return layers[lane].capture(layers[lane].count(batch));
        }

        void verify() {
            await(0);
            await(1);
            layers[0].verify(batch);
            layers[1].verify(batch);
            rank.bootstrap().barrier();
        }

        @Override
        public void close() {
            open.countDown();
            moe.close();
        }
    }

    private static void isRefused(Lanes lanes, int second, ThrowingCallable call) {
        int first = 1 - second;
        assertIllegalState(call, lanes.layers[0].handle().toString(), lanes.layers[1].handle().toString(),
                "on " + lanes.streams[second] + " while", "on " + lanes.streams[first] + " may be in flight",
                "over 2 teams of 2 ranks", "wait for an event");
    }

    private static EpCase batch(LayerKind kind) {
        return EpCase.draw(kind.space(4).withTeams(2), 1801);
    }

    /** Unordered operations are refused before anything is enqueued, and work when they are ordered. */
    @EachHighThroughputKind
    @EmulatedRanks(value = 4, hosts = 2)
    void m1HandlesOfAGroupOnTwoStreamsMustBeOrdered(LayerKind kind, EmulatedCluster cluster) {
        EpCase batch = batch(kind);
        cluster.run(rank -> {
            try (Lanes lanes = new Lanes(rank, kind, batch)) {
                lanes.enqueue(0);
                lanes.await(0);
                lanes.hold(0);
                isRefused(lanes, 1, () -> lanes.enqueue(1));
                lanes.order(0, 1);
                lanes.open.countDown();
                lanes.enqueue(1);
                lanes.verify();
                // What is done needs no order.
                lanes.enqueue(0);
                lanes.verify();
            }
        });
    }

    @Test
    @EmulatedRanks(value = 4, hosts = 2)
    void m1GraphsCountWhereTheyAreLaunched(EmulatedCluster cluster) {
        EpCase batch = batch(LayerKind.HT_FLAT);
        cluster.run(rank -> {
            try (Lanes lanes = new Lanes(rank, LayerKind.HT_FLAT, batch);
                    CudaGraphExec first = lanes.capture(0);
                    CudaGraphExec second = lanes.capture(1)) {
                first.launch(lanes.streams[0]);
                lanes.await(0);
                lanes.hold(0);
                isRefused(lanes, 1, () -> second.launch(lanes.streams[1]));
                lanes.order(0, 1);
                lanes.open.countDown();
                second.launch(lanes.streams[1]);
                lanes.verify();
            }
        });
    }

    /** Branches of one capture: a fork alone orders nothing behind it. */
    @Test
    @EmulatedRanks(value = 4, hosts = 2)
    void m1BranchesOfACaptureMustBeOrdered(EmulatedCluster cluster) {
        EpCase batch = batch(LayerKind.HT_FLAT);
        cluster.run(rank -> {
            try (Lanes lanes = new Lanes(rank, LayerKind.HT_FLAT, batch)) {
                isRefused(lanes, 1, () -> lanes.streams[0].capture(() -> {
                    lanes.order(0, 1);
                    lanes.enqueue(0);
                    lanes.enqueue(1);
                }));
                try (CudaGraph graph = lanes.streams[0].capture(() -> {
                    lanes.enqueue(0);
                    lanes.order(0, 1);
                    lanes.enqueue(1);
                    lanes.order(1, 0);
                }); CudaGraphExec both = graph.instantiate()) {
                    both.launch(lanes.streams[0]);
                    lanes.verify();
                }
            }
        });
    }

    /** One team: nothing is asked. */
    @Test
    @EmulatedRanks(2)
    void oneTeamIsNotAsked(EmulatedCluster cluster) {
        EpCase batch = EpCase.draw(LayerKind.HT_FLAT.space(2), 1802);
        cluster.run(rank -> {
            try (MoeRank moe = MoeRank.of(rank, LayerKind.HT_FLAT, batch)) {
                assertThat(SharedStaging.of(GroupShape.of(moe.group().config(), 2, 1, DeviceLimits.ANY))).isNull();
                assertThat(SharedStaging.of(GroupShape.of(moe.group().config(), 2, 2, DeviceLimits.ANY))).isNotNull();
                rank.bootstrap().barrier();
            }
        });
    }
}
