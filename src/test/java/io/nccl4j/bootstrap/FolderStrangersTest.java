package io.nccl4j.bootstrap;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.nccl.Bootstrap;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What others may have put into a folder, or in its place. */
@Timeout(90)
class FolderStrangersTest {
    private static final BootstrapOptions OPTIONS = Ranks.options(Duration.ofSeconds(20));
    private static final BootstrapOptions SHORT = Ranks.options(Duration.ofSeconds(1));

    @TempDir
    Path folder;

    @Test
    void h7PipesLinksAndHugeFilesAreNotRead() throws Exception {
        String rank = new FolderMembers(SignedFiles.in(folder, OPTIONS.key(), false), OPTIONS.key(), 0, 4)
                .prefix("rank");
        for (String name : List.of("join-", rank)) {
            assertThat(new ProcessBuilder("mkfifo", folder.resolve(name + 1).toString()).start().waitFor()).isZero();
            Files.createSymbolicLink(folder.resolve(name + 2), Path.of("/dev/zero"));
            try (RandomAccessFile huge = new RandomAccessFile(folder.resolve(name + 3).toFile(), "rw")) {
                huge.setLength(1L << 40);
            }
        }
        assertThatThrownBy(() -> Bootstraps.file(folder, 0, 4, SHORT)).isInstanceOf(WaitTimeoutException.class)
                .hasMessageContaining("ranks 1, 2 and 3 did not come within 1000 ms");
        // The right ones are not disturbed.
        assertThat(Ranks.outcomes(4, self -> Bootstraps.file(folder, self, 4, OPTIONS),
                bootstrap -> Ranks.gathersRightly(bootstrap, 3))).containsOnly(true);
    }

    @Test
    void h7AValueThatIsNoRegularFileIsNotRead() throws Exception {
        CountDownLatch met = new CountDownLatch(2);
        CountDownLatch placed = new CountDownLatch(1);
        List<Object> outcomes = Ranks.outcomes(3, rank -> {
            if (rank == 2) {
                met.await();
                try (var sessions = Files.newDirectoryStream(folder, "session-*")) {
                    for (Path session : sessions) {
                        Files.createSymbolicLink(session.resolve("value-1-0"), Path.of("/dev/zero"));
                        Files.createSymbolicLink(session.resolve("left-0"), Path.of("/dev/zero"));
                        Path pipe = session.resolve("value-1-1");
                        assertThat(new ProcessBuilder("mkfifo", pipe.toString()).start().waitFor()).isZero();
                    }
                }
                placed.countDown();
                return true;
            }
            try (Bootstrap bootstrap = Bootstraps.file(folder, rank, 2, OPTIONS)) {
                met.countDown();
                placed.await();
                return Ranks.gathersRightly(bootstrap, 3);
            }
        });
        assertThat(outcomes).containsOnly(true);
    }

    @Test
    void h8ALinkInPlaceOfTheFolderIsRefused() throws Exception {
        Path target = Files.createDirectory(folder.resolve("target"));
        Path link = Files.createSymbolicLink(folder.resolve("link"), target);
        assertThatThrownBy(() -> Bootstraps.file(link, 0, 2, SHORT)).isInstanceOf(IllegalStateException.class)
                .hasMessageContaining(link + " is a link to " + target);
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
        assertThatThrownBy(() -> Bootstraps.file(place, 0, 2, SHORT)).isInstanceOf(IllegalStateException.class)
                .hasMessageContaining(message);
    }

    @Test
    void h8AnotherUsersFolderServesWithASecret() throws Exception {
        Files.setPosixFilePermissions(folder, java.nio.file.attribute.PosixFilePermissions.fromString("rwxrwxrwx"));
        BootstrapOptions secret = Ranks.options(Duration.ofSeconds(20), "s");
        assertThat(Ranks.outcomes(2, rank -> Bootstraps.file(folder, rank, 2, secret), Bootstrap::size))
                .containsOnly(2);
    }

    @Test
    void h14ALateSecondProcessIsToldAtOnce() throws Exception {
        CountDownLatch met = new CountDownLatch(2);
        CountDownLatch over = new CountDownLatch(1);
        BootstrapOptions patient = Ranks.options(Duration.ofMinutes(10));
        List<Object> outcomes = Ranks.outcomes(3, rank -> {
            if (rank == 2) {
                try {
                    met.await();
                    return Bootstraps.file(folder, 1, 2, patient);
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
        assertThat((Throwable) outcomes.get(2)).isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("another process calls itself rank 1 in " + folder);
    }

    @Test
    void h14ALateSecondProcessOnAnotherMachineIsToldSoon() throws Exception {
        CountDownLatch met = new CountDownLatch(2);
        CountDownLatch over = new CountDownLatch(1);
        List<Object> outcomes = Ranks.outcomes(3, rank -> {
            if (rank == 2) {
                met.await();
                FolderMembers elsewhere = new FolderMembers(SignedFiles.in(folder, OPTIONS.key(), false),
                        OPTIONS.key(), 1, 2, new ProcessIdentity("elsewhere/1/2", 1, 1));
                try {
                    elsewhere.join();
                    while (!elsewhere.gather()) {
                        Thread.sleep(5);
                    }
                    return "has met others";
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
        assertThat((Throwable) outcomes.get(2)).isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("another process calls itself rank 1 in " + folder);
    }

    @Test
    void aProcessIsKnownToRunOrToHaveEndedOnItsOwnMachineOnly() {
        ProcessIdentity self = ProcessIdentity.own();
        assertThat(self.isRunning(self)).isTrue();
        assertThat(self.hasEnded(self)).isFalse();
        ProcessIdentity former = new ProcessIdentity(self.place(), self.pid(), 1);
        assertThat(former.isRunning(self)).isFalse();
        assertThat(former.hasEnded(self)).isTrue();
        ProcessIdentity elsewhere = new ProcessIdentity("elsewhere/1/2", self.pid(), 1);
        assertThat(elsewhere.isRunning(self)).isFalse();
        assertThat(elsewhere.hasEnded(self)).isFalse();
    }
}
