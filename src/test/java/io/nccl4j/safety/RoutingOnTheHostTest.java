package io.nccl4j.safety;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static org.assertj.core.api.Assertions.assertThatCode;

import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.stream.LongStream;

/** Routing that nobody checks on the device is checked on the host. */
class RoutingOnTheHostTest {
    @EachLayerKind
    @EmulatedRanks(1)
    void moreRowsForAnExpertThanItsZoneHoldsAreRefused(LayerKind shape, EmulatedCluster cluster) {
        EpCase model = LongStream.iterate(821, seed -> seed + 1).mapToObj(seed -> shape.draw(1, seed))
                .filter(some -> some.shape().topK() > 1).findFirst().orElseThrow();
        cluster.run(rank -> {
            try (MoeRank world = MoeRank.of(rank, shape, model); Arena arena = Arena.ofConfined()) {
                MoeLayer layer = world.layer();
                int most = layer.buffers().maxTokens();
                int topK = layer.handle().topK();
                MemorySegment routing = arena.allocate(ValueLayout.JAVA_LONG, (long) most * topK);
                // Once for every token, which is as often as there is room for, and once more for one of them.
                routing.fill((byte) -1);
                for (int token = 0; token < most; token++) {
                    routing.setAtIndex(ValueLayout.JAVA_LONG, (long) token * topK, 0);
                }
                assertThatCode(() -> layer.handle().checkRouting(routing, DataType.INT64, most))
                        .doesNotThrowAnyException();
                routing.setAtIndex(ValueLayout.JAVA_LONG, 1, 0);
                if (shape == LayerKind.LL_EXPERT_MAJOR) {
                    assertIllegalArgument(() -> layer.handle().checkRouting(routing, DataType.INT64, most),
                            "names expert 0", "room for " + most + " rows");
                } else {
                    // The others have a row for the token, or for the rank.
                    assertThatCode(() -> layer.handle().checkRouting(routing, DataType.INT64, most))
                            .doesNotThrowAnyException();
                }
            }
        });
    }
}
