package io.nccl4j.oracle;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

/** Slots worked out by hand. */
class SlotsTest {
    // Rank 0 owns experts 0 and 1, rank 1 owns 2 and 3.
    private static final EpShape SHAPE = new EpShape(2, 4, 2, 4);
    private static final Routing ROUTING = new Routing(SHAPE,
            new int[][][]{{{3, 2}, {0, 3}, {-1, -1}}, {{2, 2}, {1, 0}, {-1, 2}}});

    @Test
    void flatSlotsFollowTheSources() {
        FlatSlots slots = new FlatSlots(ROUTING, ReceiveBudget.trapping(4));
        assertThat(slots.map(0)).isDeepEqualTo(new int[][]{{-1, 0}, {0, 1}, {-1, -1}, {-1, -1}});
        assertThat(slots.map(1)).isDeepEqualTo(new int[][]{{-1, 2}, {1, -1}, {-1, 3}, {-1, -1}});
        assertThat(slots.total(1)).isEqualTo(4);
        assertThat(slots.traps(1)).isFalse();
    }

    @Test
    void flatDropsTheLatest() {
        FlatSlots slots = new FlatSlots(ROUTING, ReceiveBudget.dropping(3));
        assertThat(slots.slot(new Source(1, 2), 1)).isEqualTo(-1);
        assertThat(slots.total(1)).isEqualTo(4);
        assertThat(slots.kept(1)).containsExactly(new Source(0, 0), new Source(0, 1), new Source(1, 0));
        assertThat(new FlatSlots(ROUTING, ReceiveBudget.trapping(3)).traps(1)).isTrue();
    }

    @Test
    void expertMajorZonesArePaddedAndFilledInOrder() {
        ExpertMajorSlots slots = new ExpertMajorSlots(ROUTING, ReceiveBudget.trapping(8), ExpertMajorMode.LOCAL_PERMUTE,
                4);
        // Expert 2: tokens (0,0), (1,0), (1,2); expert 3: tokens (0,0), (0,1).
        assertThat(slots.counters(1)).containsExactly(4, 4);
        assertThat(slots.offsets(1)).containsExactly(0, 4);
        assertThat(slots.total(1)).isEqualTo(8);
        assertThat(slots.slot(new Source(1, 2), 2)).isEqualTo(2);
        assertThat(slots.slot(new Source(0, 1), 3)).isEqualTo(5);
        assertThat(slots.rows(1).get(3)).isNull();
    }

    @Test
    void expertMajorDropsBySlotAndUnderLocalPermuteByFlatSlotToo() {
        ExpertMajorSlots permute = new ExpertMajorSlots(ROUTING, ReceiveBudget.dropping(3),
                ExpertMajorMode.LOCAL_PERMUTE, 1);
        // Zones 0..2 and 3..4; the token (1,2) has flat slot 3 and is dropped although its zone slot is 2.
        assertThat(permute.slot(new Source(1, 2), 2)).isEqualTo(-1);
        assertThat(permute.slot(new Source(1, 0), 2)).isEqualTo(1);
        assertThat(permute.slot(new Source(0, 0), 3)).isEqualTo(-1);
        assertThat(permute.counters(1)).containsExactly(3, 0);
        assertThat(permute.offsets(1)).containsExactly(0, 3);
        assertThat(permute.total(1)).isEqualTo(5);
        assertThat(permute.kept(1)).isEqualTo(3);
        ExpertMajorSlots dup = new ExpertMajorSlots(ROUTING, ReceiveBudget.dropping(3), ExpertMajorMode.NVLINK_DUP, 1);
        assertThat(dup.slot(new Source(1, 2), 2)).isEqualTo(2);
    }

    @Test
    void theMapOfTheModesThatDuplicateNamesRankAndSlot() {
        ExpertMajorSlots dup = new ExpertMajorSlots(ROUTING, ReceiveBudget.dropping(4), ExpertMajorMode.LOCAL_DUP, 1);
        int rank1 = 1 << 22;
        assertThat(dup.map(0)).isDeepEqualTo(new int[][]{{rank1, rank1 + 3}, {0, -1}, {-1, -1}, {-1, -1}});
        assertThat(dup.map(1)).isDeepEqualTo(new int[][]{{rank1 + 1, -1}, {1, 2}, {rank1 + 2, -1}, {-1, -1}});
    }
}
