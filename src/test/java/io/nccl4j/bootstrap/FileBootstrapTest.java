package io.nccl4j.bootstrap;

import static io.nccl4j.checks.Refusals.assertIllegalState;
import static io.nccl4j.checks.Refusals.assertThrown;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.nccl.Bootstrap;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.List;
import java.util.Random;
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

    @Test
    void everyRankGetsWhatAllGaveAndNothingIsLeft() throws Exception {
        assertThat(Ranks.outcomes(4, rank -> file(rank, 4, OPTIONS), b -> Ranks.gathersRightly(b, 30)))
                .containsOnly(true);
        assertThat(folder).isEmptyDirectory();
        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(folder))).isEqualTo("rwx------");
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
