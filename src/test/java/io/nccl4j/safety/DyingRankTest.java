package io.nccl4j.safety;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.processes.ChildJvm;
import io.nccl4j.testing.EachHighThroughputKind;
import io.nccl4j.testing.EachLowLatencyKind;
import io.nccl4j.testing.LayerKind;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Processes with a rank each are killed in the middle of a step, one or all of a node; the others go on. */
@Timeout(180)
class DyingRankTest {
    private static void run(LayerKind kind, int size, int nodes, Path folder, Consumer<String> survivor)
            throws Exception {
        int living = nodes == 1 ? size - 1 : size / nodes;
        List<ChildJvm> ranks = new ArrayList<>();
        try {
            for (int rank = 0; rank < size; rank++) {
                ranks.add(ChildJvm.start(DyingRankProcess.class,
                        Map.of("JDK_JAVA_OPTIONS", "-Dnccl4j.close.limit.seconds=2", "NCCL4J_EMU_MISUSE", "abort",
                                "NCCL4J_EMU_HOST_DEVICES", "" + size / nodes),
                        folder.toString(), "" + rank, "" + size, kind.name(), "" + nodes));
            }
            for (ChildJvm dead : ranks.subList(living, size)) {
                assertThat(dead.awaitEnd()).contains("teams " + nodes).doesNotContain("seen", "failed");
                assertThat(dead.exitCode()).as("killed").isEqualTo(128 + 9);
            }
            for (ChildJvm alive : ranks.subList(0, living)) {
                String said = alive.awaitEnd();
                assertThat(said).contains("teams " + nodes).endsWith("done");
                survivor.accept(said);
                assertThat(alive.exitCode()).isZero();
            }
        } finally {
            ranks.forEach(ChildJvm::close);
        }
    }

    @EachLowLatencyKind
    void survivorsMaskItAgreeAndGoOn(LayerKind kind, @TempDir Path folder) throws Exception {
        run(kind, 3, 1, folder, said -> assertThat(said)
                .contains("seen RankMask({0, 1} of 3), error true", "agreed RankMask({0, 1} of 3)", "verified 5 steps")
                .containsPattern("channel: .*rank 2"));
    }

    /** Every rank of the node is masked, within one time-out, and every later step is right. */
    @EachLowLatencyKind
    void m3SurvivorsMaskTheNodeAndGoOn(LayerKind kind, @TempDir Path folder) throws Exception {
        run(kind, 4, 2, folder, said -> assertThat(said).contains("seen RankMask({0, 1} of 4), error true",
                "agreed RankMask({0, 1} of 4)", "verified 5 steps"));
    }

    /** There are no masks: the step fails with an exception, and so do the next calls; closing ends. */
    @EachHighThroughputKind
    void m3SurvivorsOfHighThroughputEndWithExceptions(LayerKind kind, @TempDir Path folder) throws Exception {
        run(kind, 4, 2, folder, said -> assertThat(said).containsPattern("failed in time: .*(rank [23]|is gone)")
                .doesNotContain("nothing has failed", "failed late"));
    }
}
