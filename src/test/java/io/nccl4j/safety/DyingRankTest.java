package io.nccl4j.safety;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.processes.ChildJvm;
import io.nccl4j.testing.LayerKind;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A process with a rank is killed in the middle of a step; the others go on. */
@Timeout(180)
class DyingRankTest {
    private static final int RANKS = 3;

    @ParameterizedTest
    @EnumSource(value = LayerKind.class, names = {"LL_EXPERT_MAJOR", "LL_RANK_MAJOR"})
    void survivorsMaskItAgreeAndGoOn(LayerKind shape, @TempDir Path folder) throws Exception {
        List<ChildJvm> ranks = new ArrayList<>();
        try {
            for (int rank = 0; rank < RANKS; rank++) {
                ranks.add(ChildJvm.start(DyingRankProcess.class,
                        Map.of("JDK_JAVA_OPTIONS", "-Dnccl4j.close.limit.seconds=2", "NCCL4J_EMU_MISUSE", "abort"),
                        folder.toString(), String.valueOf(rank), String.valueOf(RANKS), shape.name()));
            }
            String dead = ranks.getLast().awaitEnd();
            assertThat(dead).doesNotContain("survived");
            assertThat(ranks.getLast().exitCode()).as("killed").isEqualTo(128 + 9);
            for (ChildJvm survivor : ranks.subList(0, RANKS - 1)) {
                String said = survivor.awaitEnd();
                assertThat(said).contains("survived", "seen RankMask({0, 1} of 3), error true",
                        "agreed RankMask({0, 1} of 3)", "verified 5 steps").containsPattern("channel: .*rank 2")
                        .endsWith("done");
                assertThat(survivor.exitCode()).isZero();
            }
        } finally {
            ranks.forEach(ChildJvm::close);
        }
    }
}
