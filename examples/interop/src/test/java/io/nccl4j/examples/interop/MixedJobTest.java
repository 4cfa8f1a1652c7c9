package io.nccl4j.examples.interop;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Jobs with ranks in Java and in Python, started with the variables that torchrun sets. */
class MixedJobTest {
    @TempDir
    Path folder;

    private static Map<String, String> torchrun(int rank, int size, int restart) {
        return new HashMap<>(Map.of("RANK", "" + rank, "WORLD_SIZE", "" + size, "LOCAL_RANK", "" + rank,
                "TORCHELASTIC_RUN_ID", "job-7", "TORCHELASTIC_RESTART_COUNT", "" + restart));
    }

    private static boolean hasPython() {
        return Stream.of(System.getenv("PATH").split(":"))
                .anyMatch(path -> Files.isExecutable(Path.of(path, "python3")));
    }

    /** An id of the start before this one lies there, of a job that did not come to delete it. */
    @ParameterizedTest
    @CsvSource({"0, 2", "1, 2", "3, 4"})
    void ranksInJavaAndPythonExchangeTheirRows(int inJava, int size) throws IOException, InterruptedException {
        assumeTrue(hasPython(), "no python3");
        Emulated emulated = Emulated.in(folder);
        Path ids = Files.createDirectory(folder.resolve("ids"));
        Path old = Files.write(ids.resolve("nccl-id-job-7-0"), new byte[128]);
        List<Emulated.Running> ranks = new ArrayList<>();
        try {
            for (int rank = 0; rank < size; rank++) {
                List<String> command = rank == inJava
                        ? emulated.java(MixedRank.class, ids.toString())
                        : List.of("python3", "src/main/python/mixed_rank.py", ids.toString());
                ranks.add(emulated.start(command, torchrun(rank, size, 1)));
            }
            for (int rank = 0; rank < size; rank++) {
                assertThat(ranks.get(rank).end()).contains("rank " + rank + " of " + size + ", in "
                        + (rank == inJava ? "Java" : "Python") + ": rows are right");
            }
        } finally {
            ranks.forEach(Emulated.Running::close);
        }
        try (Stream<Path> left = Files.list(ids)) {
            assertThat(left).containsExactly(old);
        }
    }

    @Test
    void aJobWithoutAnIdIsRefused() throws IOException, InterruptedException {
        Map<String, String> environment = torchrun(0, 2, 0);
        environment.put("TORCHELASTIC_RUN_ID", "none");
        assertThatThrownBy(() -> IdFile.of(folder, environment)).isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("torchrun --rdzv_id=");
        assumeTrue(hasPython(), "no python3");
        Emulated emulated = Emulated.in(folder);
        try (Emulated.Running rank = emulated
                .start(List.of("python3", "src/main/python/mixed_rank.py", folder.toString()), environment)) {
            assertThat(rank.end()).contains("torchrun --rdzv_id=");
        }
    }

    @Test
    void aRankThatWaitsInVainNamesTheFile() {
        IdFile file = IdFile.of(folder, torchrun(1, 2, 0));
        assertThatThrownBy(() -> file.await(Duration.ofMillis(50))).isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("rank 0 has not written").hasMessageContaining("nccl-id-job-7-0");
    }
}
