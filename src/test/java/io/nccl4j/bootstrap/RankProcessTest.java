package io.nccl4j.bootstrap;

import static io.nccl4j.checks.Refusals.assertFailure;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.processes.ChildJvm;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Ranks as processes: real JVMs that meet and, on the emulator, compute together. */
@Timeout(180)
class RankProcessTest {
    @TempDir
    Path folder;

    private final List<ChildJvm> children = new ArrayList<>();

    @AfterEach
    void endChildren() {
        children.forEach(ChildJvm::close);
    }

    private ChildJvm start(Map<String, String> environment, String... arguments) throws Exception {
        ChildJvm child = ChildJvm.start(RankProcess.class, environment, arguments);
        children.add(child);
        return child;
    }

    private void assertAllSum(int expected) throws Exception {
        for (ChildJvm child : children) {
            assertThat(child.awaitEnd()).contains("sum " + expected);
            assertThat(child.exitCode()).isZero();
        }
    }

    @Test
    void processesThatMeetByTcpReduceTogether() throws Exception {
        String port = Integer.toString(Ranks.freePort());
        for (int rank = 2; rank >= 0; rank--) {
            start(Map.of("NCCL4J_BOOTSTRAP_SECRET", "s"), "tcp", "localhost", port, "" + rank, "3", "reduce");
        }
        assertAllSum(7);
    }

    @Test
    void processesThatMeetInAFolderReduceTogether() throws Exception {
        for (int rank = 0; rank < 3; rank++) {
            start(Map.of(), "file", folder.toString(), "" + rank, "3", "reduce");
        }
        assertAllSum(7);
        assertThat(folder).isEmptyDirectory();
    }

    @Test
    void processesOfALauncherReduceTogether() throws Exception {
        String port = Integer.toString(Ranks.freePort());
        for (int rank = 0; rank < 2; rank++) {
            start(Map.of("RANK", "" + rank, "WORLD_SIZE", "2", "LOCAL_RANK", "" + rank, "MASTER_ADDR", "127.0.0.1",
                    "MASTER_PORT", port), "environment", "reduce");
        }
        assertAllSum(3);
    }

    @Test
    void aKilledProcessIsNamedByTheOthers() throws Exception {
        String port = Integer.toString(Ranks.freePort());
        for (int rank = 0; rank < 3; rank++) {
            start(Map.of(), "tcp", "localhost", port, "" + rank, "3", "wait");
        }
        for (ChildJvm child : children) {
            child.await("met as rank");
        }
        children.get(1).kill();
        assertThat(children.get(0).awaitEnd()).containsPattern("failed .*rank 1 is lost: its connection broke");
        assertThat(children.get(2).awaitEnd()).containsPattern("failed .*rank 1 is lost: its connection broke");
        assertThat(children.get(0).exitCode()).isEqualTo(1);
    }

    @Test
    void aKilledRank0IsNamedByTheOthers() throws Exception {
        String port = Integer.toString(Ranks.freePort());
        for (int rank = 0; rank < 2; rank++) {
            start(Map.of(), "tcp", "localhost", port, "" + rank, "2", "wait");
        }
        for (ChildJvm child : children) {
            child.await("met as rank");
        }
        children.get(0).kill();
        assertThat(children.get(1).awaitEnd()).containsPattern("failed .*rank 0 is lost: its connection broke");
    }

    @Test
    void h3AKilledProcessIsKnownWithoutACall() throws Exception {
        String port = Integer.toString(Ranks.freePort());
        Path place = folder.resolve("place");
        for (int rank = 0; rank < 2; rank++) {
            start(Map.of(), "tcp", "localhost", port, "" + rank, "2", rank == 1 ? "sleep" : "watch");
            start(Map.of(), "file", place.toString(), "" + rank, "2", rank == 1 ? "sleep" : "watch");
        }
        for (ChildJvm child : children) {
            child.await("met as rank");
        }
        children.get(2).kill();
        children.get(3).kill();
        assertThat(children.get(0).awaitEnd())
                .containsPattern("gone 1 Departure.lost=true, how=is lost: its connection");
        assertThat(children.get(1).awaitEnd())
                .containsPattern("gone 1 Departure.lost=true, how=is lost: its connection");
    }

    @Test
    void whatAKilledJobHasLeftInAFolderDoesNoHarm() throws Exception {
        for (int rank = 0; rank < 2; rank++) {
            start(Map.of(), "file", folder.toString(), "" + rank, "2", "sleep");
        }
        for (ChildJvm child : children) {
            child.await("met as rank");
        }
        // Its process runs.
        assertIllegalState(() -> Bootstraps.file(folder, 1, 2), "rank 0 refuses rank 1: rank 1 is here already");
        children.forEach(ChildJvm::kill);
        for (ChildJvm child : children) {
            child.awaitEnd();
        }
        assertThat(folder).isNotEmptyDirectory();
        BootstrapOptions brief = Ranks.options(Duration.ofMillis(500));
        assertFailure(WaitTimeoutException.class, () -> Bootstraps.file(folder, 1, 2, brief), "rank 0 did not come");
        for (int size : new int[]{2, 3}) {
            BootstrapOptions options = Ranks.options(Duration.ofSeconds(30));
            assertThat(Ranks.outcomes(size, rank -> Bootstraps.file(folder, rank, size, options),
                    bootstrap -> Ranks.gathersRightly(bootstrap, 3))).containsOnly(true);
        }
        assertThat(folder).isEmptyDirectory();
    }
}
