package io.nccl4j.bootstrap;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static io.nccl4j.checks.Refusals.assertThrown;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.nccl.Bootstrap;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(90)
class FileBootstrapTest {
    private static final Duration LIMIT = Duration.ofSeconds(20);
    /** Enough on a busy machine for the ranks that do come. */
    private static final Duration BRIEF = Duration.ofSeconds(8);
    private static final BootstrapOptions OPTIONS = Ranks.options(LIMIT);
    private static final BootstrapOptions SHORT = Ranks.options(BRIEF);

    @TempDir
    Path parent;
    private Path folder;

    @BeforeEach
    void nameFolder() {
        folder = parent.resolve("not").resolve("there yet");
    }

    private Bootstrap file(int rank, int size, BootstrapOptions options) {
        return Bootstraps.file(folder, rank, size, options);
    }

    private List<Path> leftovers() throws Exception {
        try (var files = Files.walk(folder)) {
            return files.filter(Files::isRegularFile).toList();
        }
    }

    @Test
    void everyRankGetsWhatAllGaveAndNothingIsLeft() throws Exception {
        assertThat(Ranks.outcomes(4, rank -> file(rank, 4, OPTIONS), b -> Ranks.gathersRightly(b, 30)))
                .containsOnly(true);
        assertThat(folder).isEmptyDirectory();
        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(folder))).isEqualTo("rwx------");
    }

    @Test
    void ranksOfOneMachineAreNumbered() throws Exception {
        assertThat(Ranks.outcomes(3, rank -> file(rank, 3, OPTIONS), Bootstrap::localRank)).containsExactly(0, 1, 2);
    }

    @Test
    void aFolderServesOneJobAfterTheOther() throws Exception {
        for (int job = 0; job < 5; job++) {
            int size = 2 + job % 3;
            assertThat(Ranks.outcomes(size, rank -> file(rank, size, OPTIONS), b -> Ranks.gathersRightly(b, 2)))
                    .containsOnly(true);
        }
    }

    @Test
    void rubbishDoesNoHarm() throws Exception {
        Files.createDirectories(folder,
                PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
        Random random = new Random(8);
        for (String name : List.of(FolderPlace.fileName(OPTIONS.checked().key()), "session", "rank-0", "rank-1")) {
            byte[] noise = new byte[random.nextInt(200)];
            random.nextBytes(noise);
            Files.write(folder.resolve(name), noise);
        }
        assertThat(Ranks.outcomes(3, rank -> file(rank, 3, OPTIONS), b -> Ranks.gathersRightly(b, 3)))
                .containsOnly(true);
    }

    @Test
    void missingRanksAreNamed() throws Exception {
        List<Object> outcomes = Ranks.outcomes(4, rank -> rank == 1 || rank == 3 ? "absent" : file(rank, 4, SHORT));
        assertThat(List.of(outcomes.get(0), outcomes.get(2))).anyMatch(WaitTimeoutException.class::isInstance)
                .allSatisfy(outcome -> assertThat((Throwable) outcome)
                        .hasMessageContaining("ranks 1 and 3 did not come within 8000 ms (rank ")
                        .hasMessageContaining(" of 4 in " + folder + " waits in call 0)"));
        assertThat(leftovers()).isEmpty();
    }

    @Test
    void aMissingRank0IsNamed() {
        assertFailure(WaitTimeoutException.class, () -> file(1, 2, SHORT), "rank 0 did not come");
    }

    @Test
    void ranksThatDoNotCallAreNamed() throws Exception {
        CountDownLatch over = new CountDownLatch(2);
        List<Object> outcomes = Ranks.outcomes(3, rank -> {
            try (Bootstrap bootstrap = file(rank, 3, SHORT)) {
                if (rank == 2) {
                    over.await();
                    return "busy elsewhere";
                }
                try {
                    return bootstrap.allGather(new byte[0]);
                } finally {
                    over.countDown();
                }
            }
        });
        assertThat(outcomes.subList(0, 2)).allSatisfy(
                outcome -> assertThat((Throwable) outcome).hasMessageContaining("rank 2 did not come within 8000 ms"));
    }

    @Test
    void aRankThatLeftIsNamedAtOnce() throws Exception {
        List<Object> outcomes = Ranks.outcomes(3, rank -> {
            try (Bootstrap bootstrap = file(rank, 3, OPTIONS)) {
                return rank == 1 ? "left" : bootstrap.allGather(new byte[0]);
            }
        });
        for (int rank : new int[]{0, 2}) {
            assertThrown(IllegalStateException.class, outcomes.get(rank), "has left");
        }
    }

    @Test
    void aSecondProcessOfOneRankIsFound() throws Exception {
        CountDownLatch first = new CountDownLatch(1);
        List<Object> outcomes = new ArrayList<>(Ranks.outcomes(4, thread -> {
            int rank = thread == 3 ? 1 : thread;
            if (thread == 2) {
                first.await();
            }
            try (Bootstrap bootstrap = file(rank, 3, OPTIONS)) {
                return Ranks.gathersRightly(bootstrap, 3);
            } finally {
                // One of the two that call themselves rank 1 gives up, and only then rank 2 comes.
                first.countDown();
            }
        }));
        assertThat(List.of(outcomes.get(0), outcomes.get(2))).containsOnly(true);
        assertThat(List.of(outcomes.get(1), outcomes.get(3))).contains(true)
                .anySatisfy(outcome -> assertThat(outcome).isInstanceOfSatisfying(IllegalStateException.class,
                        e -> assertThat(e).hasMessageContaining("rank 0 refuses rank 1: rank 1 is here already")));
    }

    @Test
    void whoDoesNotKnowTheSecretIsNotSeen() throws Exception {
        List<Object> outcomes = Ranks.outcomes(3,
                rank -> file(rank, 3, Ranks.options(BRIEF, rank == 2 ? "another" : "the secret")));
        assertThat((Throwable) outcomes.get(0)).hasMessageContaining("rank 2 did not come");
        assertThrown(WaitTimeoutException.class, outcomes.get(2), "rank 0 did not come", "it has left no word there");
    }

    @Test
    void aFolderOpenToOthersNeedsASecret() throws Exception {
        Files.createDirectories(folder);
        Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString("rwxrwxrwx"));
        assertIllegalState(() -> file(0, 2, SHORT), "other users can write to", "NCCL4J_BOOTSTRAP_SECRET");
        assertThat(Ranks.outcomes(2, rank -> file(rank, 2, Ranks.options(LIMIT, "s")), Bootstrap::size))
                .containsOnly(2);
    }

    @Test
    void aFileInPlaceOfTheFolderIsReported() throws Exception {
        Files.createDirectories(folder.getParent());
        Files.writeString(folder, "a file");
        assertIllegalState(() -> file(0, 2, SHORT), "is not a folder");
    }
}
