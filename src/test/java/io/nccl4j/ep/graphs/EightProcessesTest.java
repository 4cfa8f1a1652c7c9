package io.nccl4j.ep.graphs;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.oracle.CaseSeeds;
import io.nccl4j.processes.ChildJvm;
import io.nccl4j.testing.LayerKind;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * Eight ranks, each a JVM of its own: graphs of every algorithm and layout give what eager runs and the oracle give.
 */
@Timeout(1800)
class EightProcessesTest {
    private static final int RANKS = 8;

    private final CaseSeeds seeds = CaseSeeds.fresh();

    @Test
    void everyReplayOfEveryRankIsRight(@TempDir Path folder) throws Exception {
        for (LayerKind kind : LayerKind.values()) {
            ReplayingRankProcess.draw(kind, RANKS, seeds);
        }
        List<ChildJvm> ranks = new ArrayList<>();
        try {
            for (int rank = 0; rank < RANKS; rank++) {
                // Misuse would end the process, as on a GPU.
                ranks.add(ChildJvm.start(ReplayingRankProcess.class, Map.of("NCCL4J_EMU_MISUSE", "abort"),
                        folder.toString(), String.valueOf(rank), String.valueOf(RANKS), seeds.toString()));
            }
            for (LayerKind kind : LayerKind.values()) {
                for (ChildJvm rank : ranks) {
                    rank.await(kind + ": " + ReplayProof.REPLAYS + " replays verified");
                    assertThat(rank.await(kind + ": refused: "))
                            .contains("the ranks do not agree on which graphs to capture: ranks 0, 1, 2, 4, 5, 6, 7: ")
                            .contains("; rank 3: ");
                    rank.await(kind + ": served from a cache");
                }
            }
            for (ChildJvm rank : ranks) {
                assertThat(rank.awaitEnd()).contains("left over: []").endsWith("done");
                assertThat(rank.exitCode()).isZero();
            }
            assertThat(folder).isEmptyDirectory();
        } finally {
            ranks.forEach(ChildJvm::close);
        }
    }
}
