package io.nccl4j.bootstrap;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static io.nccl4j.checks.Refusals.assertThrown;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.nccl.Bootstrap;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Files that others may have put into a folder, or in its place. */
@Timeout(90)
class FolderStrangersTest {
    private static final BootstrapOptions OPTIONS = Ranks.options(Duration.ofSeconds(20));
    private static final BootstrapOptions SHORT = Ranks.options(Duration.ofMillis(500));

    @TempDir
    Path folder;

    @Test
    void h7PipesLinksAndHugeFilesAreNotRead() throws Exception {
        Path file = folder.resolve(FolderPlace.fileName(OPTIONS.checked().key()));
        for (Path target : List.of(file, folder.resolve("session"))) {
            for (int kind = 0; kind < 3; kind++) {
                Files.deleteIfExists(target);
                switch (kind) {
                    case 0 -> assertThat(new ProcessBuilder("mkfifo", target.toString()).start().waitFor()).isZero();
                    case 1 -> Files.createSymbolicLink(target, Path.of("/dev/zero"));
                    default -> {
                        try (RandomAccessFile huge = new RandomAccessFile(target.toFile(), "rw")) {
                            huge.setLength(1L << 40);
                        }
                    }
                }
                assertFailure(WaitTimeoutException.class, () -> Bootstraps.file(folder, 1, 2, SHORT),
                        "rank 0 did not come within 500 ms");
                // The right ones are not disturbed.
                assertThat(Ranks.outcomes(2, self -> Bootstraps.file(folder, self, 2, OPTIONS),
                        bootstrap -> Ranks.gathersRightly(bootstrap, 3))).containsOnly(true);
            }
        }
    }

    @Test
    void onlyThisUserCanReadTheKeyInTheFolder() throws Exception {
        assertThat(Ranks.outcomes(2, rank -> Bootstraps.file(folder, rank, 2, OPTIONS), bootstrap -> {
            try (var files = Files.list(folder)) {
                bootstrap.barrier();
                return PosixFilePermissions.toString(Files.getPosixFilePermissions(files.findFirst().orElseThrow()));
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            } finally {
                bootstrap.barrier();
            }
        })).containsOnly("rw-------");
    }

    @Test
    void h8ALinkInPlaceOfTheFolderIsRefused() throws Exception {
        Path target = Files.createDirectory(folder.resolve("target"));
        Path link = Files.createSymbolicLink(folder.resolve("link"), target);
        assertIllegalState(() -> Bootstraps.file(link, 0, 2, SHORT), link + " is a link to " + target);
        assertThat(target).isEmptyDirectory();
    }

    @Test
    void h8AnotherUsersFolderIsRefusedWithoutASecret() throws Exception {
        Path other;
        String message;
        try {
            other = Files.createDirectory(folder.resolve("other"));
            Files.setAttribute(other, "unix:uid", 12345);
            message = other + " belongs to user 12345, and this process is of user ";
        } catch (IOException e) {
            // Not everybody can give a folder away; this one has another owner, who does not let this user write.
            other = Path.of("/usr");
            message = "cannot meet others in /usr";
        }
        Path place = other;
        assertIllegalState(() -> Bootstraps.file(place, 0, 2, SHORT), message);
    }

    @Test
    void h8AnotherUsersFolderServesWithASecret() throws Exception {
        Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString("rwxrwxrwx"));
        BootstrapOptions secret = Ranks.options(Duration.ofSeconds(20), "s");
        assertThat(Ranks.outcomes(2, rank -> Bootstraps.file(folder, rank, 2, secret), Bootstrap::size))
                .containsOnly(2);
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1})
    void h14ALateSecondProcessIsToldAtOnce(int second) throws Exception {
        CountDownLatch met = new CountDownLatch(2);
        CountDownLatch over = new CountDownLatch(1);
        BootstrapOptions patient = Ranks.options(Duration.ofMinutes(10));
        List<Object> outcomes = Ranks.outcomes(3, rank -> {
            if (rank == 2) {
                try {
                    met.await();
                    return Bootstraps.file(folder, second, 2, patient);
                } finally {
                    over.countDown();
                }
            }
            try (Bootstrap bootstrap = Bootstraps.file(folder, rank, 2, OPTIONS)) {
                met.countDown();
                over.await();
                return Ranks.gathersRightly(bootstrap, 2);
            }
        });
        assertThat(outcomes.subList(0, 2)).containsOnly(true);
        assertThrown(IllegalStateException.class, outcomes.get(2),
                second == 0
                        ? "another process calls itself rank 0 in " + folder + ": it listens at "
                        : "rank 0 refuses rank 1: rank 1 is here already, from ");
    }
}
