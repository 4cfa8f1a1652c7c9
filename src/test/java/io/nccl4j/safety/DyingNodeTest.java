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

/** All processes of one of two nodes are killed in the middle of a step. */
@Timeout(180)
class DyingNodeTest {
    private static final int RANKS = 4;
    private static final int SURVIVORS = 2;

    @FunctionalInterface
    private interface Check {
        void check(String said);
    }

    private static void run(LayerKind kind, Path folder, Check survivor) throws Exception {
        List<ChildJvm> ranks = new ArrayList<>();
        try {
            for (int rank = 0; rank < RANKS; rank++) {
                ranks.add(ChildJvm.start(DyingNodeProcess.class,
                        Map.of("JDK_JAVA_OPTIONS", "-Dnccl4j.close.limit.seconds=2", "NCCL4J_EMU_MISUSE", "abort",
                                "NCCL4J_EMU_HOST_DEVICES", String.valueOf(RANKS - SURVIVORS)),
                        folder.toString(), String.valueOf(rank), String.valueOf(RANKS), kind.name()));
            }
            for (ChildJvm dead : ranks.subList(SURVIVORS, RANKS)) {
                assertThat(dead.awaitEnd()).contains("teams 2").doesNotContain("seen", "failed");
                assertThat(dead.exitCode()).as("killed").isEqualTo(128 + 9);
            }
            for (ChildJvm living : ranks.subList(0, SURVIVORS)) {
                String said = living.awaitEnd();
                assertThat(said).contains("teams 2").endsWith("done");
                survivor.check(said);
                assertThat(living.exitCode()).isZero();
            }
        } finally {
            ranks.forEach(ChildJvm::close);
        }
    }

    /** Every rank of the node is masked, within one time-out, and every later step is right. */
    @ParameterizedTest
    @EnumSource(value = LayerKind.class, names = {"LL_EXPERT_MAJOR", "LL_RANK_MAJOR"})
    void m3SurvivorsMaskTheNodeAndGoOn(LayerKind kind, @TempDir Path folder) throws Exception {
        run(kind, folder, said -> assertThat(said).contains("seen RankMask({0, 1} of 4), error true",
                "agreed RankMask({0, 1} of 4)", "verified 5 steps"));
    }

    /** There are no masks: the step fails with an exception, and so do the next calls; closing ends. */
    @ParameterizedTest
    @EnumSource(value = LayerKind.class, names = {"HT_FLAT", "HT_EXPERT_MAJOR"})
    void m3SurvivorsOfHighThroughputEndWithExceptions(LayerKind kind, @TempDir Path folder) throws Exception {
        run(kind, folder, said -> assertThat(said).containsPattern("failed in time: .*(rank [23]|is gone)")
                .doesNotContain("nothing has failed", "failed late"));
    }
}
