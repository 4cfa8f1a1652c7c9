package io.nccl4j.safety;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.Fault;
import io.nccl4j.ep.RankMask;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.testing.EachLowLatencyKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The example of docs/fault-tolerance.md does what the guide says. */
class FaultToleranceGuideTest {
    private static final int RANKS = 4;
    private static final Duration TIMEOUT = Duration.ofMillis(400);

    @Test
    void theLeastAreLeftOut() {
        assertThat(mask("1111", "1111", "1111", "1111")).isEqualTo(RankMask.all(4));
        // One that nobody hears.
        assertThat(mask("1101", "1101", "1111", "1101")).isEqualTo(RankMask.all(4).without(2));
        // A broken link: one end is enough.
        assertThat(mask("1110", "1111", "1111", "0111")).isEqualTo(RankMask.all(4).without(3));
        // Rank 0 hears nobody, and so has complaints about all, but each of those has only one.
        assertThat(mask("1000", "0111", "0111", "0111")).isEqualTo(RankMask.all(4).without(0));
        // Two halves that do not hear each other.
        assertThat(mask("1100", "1100", "0011", "0011")).isEqualTo(RankMask.all(4).without(2).without(3));
    }

    @Test
    void whoSaysNothingIsOut() {
        byte[] all = {1, 1, 1};
        assertThat(MaskAgreement.withoutQuarrels(new byte[][]{all, null, all})).isEqualTo(RankMask.all(3).without(1));
    }

    private static RankMask mask(String... views) {
        byte[][] heardBy = new byte[views.length][];
        for (int rank = 0; rank < views.length; rank++) {
            heardBy[rank] = new byte[views.length];
            for (int other = 0; other < views.length; other++) {
                heardBy[rank][other] = (byte) (views[rank].charAt(other) - '0');
            }
        }
        return MaskAgreement.withoutQuarrels(heardBy);
    }

    /** Two ranks lose the link between them, and nobody else notices: afterwards three of four go on as one group. */
    @EachLowLatencyKind
    @EmulatedRanks(value = RANKS, allowLeaks = true)
    void ranksThatDisagreeComeToOneMask(LayerKind shape, EmulatedCluster cluster) {
        EpCase model = shape.draw(RANKS, 431);
        MoeRank.run(cluster, shape, model, config -> config.mask().timeout(TIMEOUT), (world, layer) -> {
            layer.runAndVerify(world.draw(RoutingKind.UNIFORM, 432));
            assertThat(MaskAgreement.agree(world.group(), world.bootstrap(), world.stream()))
                    .isEqualTo(RankMask.all(RANKS));
            if (world.rank() == 0) {
                Emulator.inject(new Fault.DropMessages(0, 1, 3));
            }
            world.bootstrap().barrier();
            layer.load(model);
            layer.enqueue(layer.count(model));
            world.await();
            // Whoever waits for a rank that waits is late itself: the others may have masked one end of the link or
            // none.
            RankMask before = world.group().maskQuery(world.stream());
            assertThat(world.rank() != 0 || !before.isActive(3)).isTrue();
            assertThat(world.rank() != 3 || !before.isActive(0)).isTrue();
            RankMask agreed = MaskAgreement.agree(world.group(), world.bootstrap(), world.stream());
            byte[] told = agreed.toString().getBytes(StandardCharsets.UTF_8);
            assertThat(List.of(world.bootstrap().allGather(told))).allMatch(other -> Arrays.equals(other, told));
            assertThat(agreed.activeCount()).isEqualTo(RANKS - 1);
            int gone = agreed.isActive(0) ? 3 : 0;
            assertThat(agreed).isEqualTo(RankMask.all(RANKS).without(gone));
            assertThat(world.group().maskQuery(world.stream())).isEqualTo(agreed);
            if (world.rank() != gone) {
                for (int step = 0; step < 4; step++) {
                    EpCase batch = world.draw(RoutingKind.UNIFORM, 433 + step);
                    layer.load(batch);
                    layer.enqueue(layer.count(batch));
                    world.await();
                    layer.verify(Survivors.without(batch, gone));
                    assertThat(world.group().asyncError()).isFalse();
                }
            }
            world.bootstrap().barrier();
            world.communicator().abandon("a rank has left");
        });
    }
}
