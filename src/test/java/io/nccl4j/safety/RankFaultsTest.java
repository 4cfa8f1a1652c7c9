package io.nccl4j.safety;

import static io.nccl4j.checks.Refusals.assertFailure;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaException;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.Fault;
import io.nccl4j.ep.RankMask;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.EachLowLatencyKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.time.Duration;

/** Slow and silent ranks: what the others see of them. */
class RankFaultsTest {
    private static final int RANKS = 4;
    private static final int FAULTY = 2;
    private static final Duration TIMEOUT = Duration.ofMillis(400);

    @EachLayerKind
    @EmulatedRanks(RANKS)
    void aSlowRankIsWaitedFor(LayerKind shape, EmulatedCluster cluster) {
        Emulator.inject(new Fault.Delay(FAULTY, 2, Duration.ofMillis(150)));
        Emulator.inject(new Fault.Delay(1, 5, Duration.ofMillis(100)));
        MoeRank.run(cluster, shape, shape.draw(RANKS, 401), (world, layer) -> {
            for (int step = 0; step < 5; step++) {
                layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 402 + step));
            }
        });
    }

    @EachLowLatencyKind
    @EmulatedRanks(value = RANKS, allowLeaks = true)
    void survivorsOfASilentRankGoOnWithTheExpertsThatRemain(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(RANKS, 411), config -> config.mask().timeout(TIMEOUT),
                (world, layer) -> {
                    layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 412));
                    world.bootstrap().barrier();
                    if (world.rank() == FAULTY) {
                        Emulator.inject(new Fault.Silence(FAULTY, 1));
                    }
                    world.bootstrap().barrier();
                    for (int step = 0; step < 4; step++) {
                        EpCase batch = world.draw(RoutingKind.UNIFORM, 413 + step);
                        long start = System.nanoTime();
                        layer.load(batch);
                        layer.enqueue(layer.count(batch));
                        world.await();
                        long took = System.nanoTime() - start;
                        if (world.rank() == FAULTY) {
                            continue;
                        }
                        layer.verify(Survivors.without(batch, FAULTY));
                        assertThat(world.group().maskQuery(world.stream()))
                                .isEqualTo(RankMask.all(RANKS).without(FAULTY));
                        assertThat(world.group().asyncError()).isEqualTo(step == 0);
                        world.group().errorClear();
                        // The wait is for the first operation only.
                        assertThat(took >= TIMEOUT.toNanos()).isEqualTo(step == 0);
                    }
                    // The silent rank cannot take part in destroying the group: it is given up with all that belongs
                    // to it.
                    world.bootstrap().barrier();
                    world.communicator().abandon("rank " + FAULTY + " is silent");
                });
    }

    @EachLowLatencyKind
    @EmulatedRanks(value = RANKS, allowLeaks = true, allowMisuse = true)
    void withoutAMaskATimeoutIsALostDeviceThatSaysSo(LayerKind shape, EmulatedCluster cluster) {
        EpCase model = shape.draw(RANKS, 421);
        MoeRank.run(cluster, shape, model, config -> config.timeout(TIMEOUT), (world, layer) -> {
            world.bootstrap().barrier();
            if (world.rank() == FAULTY) {
                Emulator.inject(new Fault.Silence(FAULTY, 1));
            }
            world.bootstrap().barrier();
            layer.load(model);
            layer.enqueue(layer.count(model));
            if (world.rank() != FAULTY) {
                assertFailure(CudaException.class, world::await, "cudaErrorLaunchFailure");
                assertThat(world.device().failure()).isNotNull();
                assertThat(Emulator.errorText(world.device())).contains("nothing from rank " + FAULTY)
                        .contains("within 400 ms");
                assertFailure(CudaException.class, () -> layer.enqueue(0), "has failed before");
            } else {
                world.await();
            }
            world.bootstrap().barrier();
            world.communicator().abandon("the other ranks have lost their devices");
        });
    }
}
