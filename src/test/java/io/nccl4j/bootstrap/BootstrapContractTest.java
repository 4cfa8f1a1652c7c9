package io.nccl4j.bootstrap;

import static io.nccl4j.checks.Refusals.assertIllegalArgument;
import static io.nccl4j.checks.Refusals.assertIllegalState;
import static io.nccl4j.checks.Refusals.assertThrown;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.checks.Condition;
import io.nccl4j.checks.LogListener;
import io.nccl4j.internal.Deadline;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Departure;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** The contract of every bootstrap, however the ranks meet. */
@Timeout(90)
class BootstrapContractTest {
    private static final Duration LIMIT = Duration.ofSeconds(30);
    private static final BootstrapOptions OPTIONS = Ranks.options(LIMIT);
    /** Enough on a busy machine for the ranks that do come. */
    private static final BootstrapOptions SHORT = Ranks.options(Duration.ofSeconds(8));

    @TempDir
    Path folder;

    @ParameterizedTest
    @EnumSource
    void everyRankGetsWhatAllGave(Meeting meeting) throws Exception {
        Ranks.Maker maker = meeting.maker(folder, 6, OPTIONS);
        assertThat(Ranks.outcomes(6, maker,
                bootstrap -> Ranks.gathersRightly(bootstrap, 100) ? bootstrap.localRank() : -1))
                .containsExactly(0, 1, 2, 3, 4, 5);
    }

    @ParameterizedTest
    @CsvSource({"IN_PROCESS, 0", "IN_PROCESS, 2", "FOLDER, 0", "FOLDER, 2", "TCP, 0", "TCP, 2"})
    void whoDoesNotCallIsNamed(Meeting meeting, int busy) throws Exception {
        Ranks.Maker maker = meeting.maker(folder, 3, SHORT);
        CountDownLatch over = new CountDownLatch(2);
        List<Object> outcomes = new ArrayList<>(Ranks.outcomes(3, rank -> {
            try (Bootstrap bootstrap = maker.make(rank)) {
                bootstrap.barrier();
                if (rank == busy) {
                    over.await();
                    return "busy elsewhere";
                }
                try {
                    return bootstrap.allGather(new byte[0]);
                } finally {
                    over.countDown();
                }
            }
        }));
        outcomes.remove(busy);
        assertThat(outcomes).anyMatch(WaitTimeoutException.class::isInstance)
                .allSatisfy(outcome -> assertThat((Throwable) outcome)
                        .hasMessageContaining("rank " + busy + " did not come within 8000 ms"));
    }

    @ParameterizedTest
    @EnumSource(names = {"FOLDER", "TCP"})
    void aSecondProcessOfOneRankIsTurnedAway(Meeting meeting) throws Exception {
        Ranks.Maker maker = meeting.maker(folder, 3, OPTIONS);
        CountDownLatch first = new CountDownLatch(1);
        List<Object> outcomes = Ranks.outcomes(4, thread -> {
            if (thread == 2) {
                first.await();
            }
            try (Bootstrap bootstrap = maker.make(thread == 3 ? 1 : thread)) {
                return Ranks.gathersRightly(bootstrap, 3);
            } finally {
                // One of the two that call themselves rank 1 gives up, and only then rank 2 comes.
                first.countDown();
            }
        });
        assertThat(List.of(outcomes.get(0), outcomes.get(2))).containsOnly(true);
        List<Object> both = new ArrayList<>(List.of(outcomes.get(1), outcomes.get(3)));
        assertThat(both.remove(Boolean.TRUE)).isTrue();
        assertThrown(IllegalStateException.class, both.getFirst(), "rank 0 refuses rank 1: rank 1 is here already");
    }

    @ParameterizedTest
    @EnumSource
    void r2AnInterruptBreaksNoBootstrap(Meeting meeting) throws Exception {
        Ranks.Maker maker = meeting.maker(folder, 3, OPTIONS);
        List<Object> outcomes = Ranks.outcomes(3, rank -> {
            Thread.currentThread().interrupt();
            try (Bootstrap bootstrap = maker.make(rank)) {
                boolean right = Thread.currentThread().isInterrupted() && Ranks.gathersRightly(bootstrap, 20);
                right &= Thread.interrupted() && Ranks.gathersRightly(bootstrap, 2);
                Thread.currentThread().interrupt();
                bootstrap.barrier();
                return right && Thread.currentThread().isInterrupted();
            }
        });
        assertThat(outcomes).containsOnly(true);
    }

    @ParameterizedTest
    @EnumSource
    void r2AnInterruptDuringAWaitIsKept(Meeting meeting) throws Exception {
        Ranks.Maker maker = meeting.maker(folder, 2, OPTIONS);
        Thread[] waiter = new Thread[1];
        CountDownLatch begun = new CountDownLatch(1);
        List<Object> outcomes = Ranks.outcomes(2, rank -> {
            try (Bootstrap bootstrap = maker.make(rank)) {
                bootstrap.barrier();
                if (rank == 0) {
                    waiter[0] = Thread.currentThread();
                    begun.countDown();
                    bootstrap.barrier();
                    return Thread.interrupted();
                }
                begun.await();
                awaitState(waiter[0], Thread.State.TIMED_WAITING);
                waiter[0].interrupt();
                awaitState(waiter[0], Thread.State.TIMED_WAITING);
                bootstrap.barrier();
                return true;
            }
        });
        assertThat(outcomes).containsOnly(true);
    }

    private static void awaitState(Thread thread, Thread.State state) {
        Condition.await("state " + state, () -> thread.getState() == state && !thread.isInterrupted());
    }

    @ParameterizedTest
    @EnumSource
    void r17AWaitEndsWhenItsBootstrapIsClosedByAnotherThread(Meeting meeting) throws Exception {
        Ranks.Maker maker = meeting.maker(folder, 2, Ranks.options(Duration.ofMinutes(10)));
        List<Object> outcomes = Ranks.outcomes(2, rank -> {
            try (Bootstrap bootstrap = maker.make(rank)) {
                bootstrap.barrier();
                if (rank == 0) {
                    Thread waiter = Thread.currentThread();
                    Thread.ofPlatform().daemon().start(() -> {
                        awaitState(waiter, Thread.State.TIMED_WAITING);
                        bootstrap.close();
                    });
                    return bootstrap.allGather(new byte[0]);
                }
                return awaitGone(bootstrap, 0);
            }
        });
        assertThrown(IllegalStateException.class, outcomes.getFirst(), "the bootstrap of rank 0 is closed");
        assertThat(outcomes.get(1)).isEqualTo(new Departure(false, "has left"));
    }

    /** Asks until the news is there: nobody is called. */
    private static Departure awaitGone(Bootstrap bootstrap, int rank) {
        Condition.await("rank " + rank + " has gone", () -> bootstrap.goneRanks().containsKey(rank));
        return bootstrap.goneRanks().get(rank);
    }

    @ParameterizedTest
    @EnumSource
    void r17AWaitForRanksThatNeverCameEndsWhenTheThreadOfItsOwnerSaysSo(Meeting meeting) throws Exception {
        Store store = meeting.store(folder);
        Thread waiter = Thread.currentThread();
        Thread.ofPlatform().daemon().start(() -> {
            awaitState(waiter, Thread.State.TIMED_WAITING);
            store.leave(new Departure(false, "has left"));
        });
        Deadline deadline = Deadline.after(Duration.ofMinutes(10));
        assertIllegalState(() -> store.get(0, 0, deadline), "the bootstrap of rank 1 is closed");
    }

    @ParameterizedTest
    @EnumSource
    void u4AWaitOfMoreThanASecondIsLogged(Meeting meeting) throws Exception {
        LogListener log = new LogListener(StoreBootstrap.class.getName());
        try (log) {
            Ranks.Maker maker = meeting.maker(folder, 4, Ranks.options(Duration.ofMillis(3000)));
            List<Object> outcomes = Ranks.outcomes(4, rank -> {
                if (rank % 2 == 1) {
                    return "absent";
                }
                try (Bootstrap bootstrap = maker.make(rank)) {
                    return bootstrap.allGather(new byte[0]);
                }
            });
            assertThat(List.of(outcomes.get(0), outcomes.get(2))).anyMatch(WaitTimeoutException.class::isInstance)
                    .allSatisfy(outcome -> assertThat((Throwable) outcome)
                            .hasMessageContaining("ranks 1 and 3 did not come within 3000 ms"));
        }
        try (var files = Files.walk(folder)) {
            assertThat(files.filter(Files::isRegularFile)).isEmpty();
        }
        String place = switch (meeting) {
            case IN_PROCESS -> "in this process";
            case FOLDER -> "in " + folder;
            case TCP -> "at localhost:";
        };
        assertThat(log.lines()).allSatisfy(line -> assertThat(line).contains(place).contains(" waits for rank"))
                .anySatisfy(
                        line -> assertThat(line).contains("waits for ranks 1 and 3 in call 0, for 3000 ms at most"));
    }

    @ParameterizedTest
    @EnumSource
    void h3WhoHasGoneIsKnownWithoutACall(Meeting meeting) throws Exception {
        Ranks.Maker maker = meeting.maker(folder, 4, OPTIONS);
        CountDownLatch over = new CountDownLatch(2);
        List<Object> outcomes = Ranks.outcomes(4, rank -> {
            Bootstrap bootstrap = maker.make(rank);
            try (bootstrap) {
                bootstrap.barrier();
                if (rank == 1) {
                    return "left";
                } else if (rank == 2) {
                    bootstrap.leave("has no device");
                    return "failed";
                }
                awaitGone(bootstrap, 1);
                awaitGone(bootstrap, 2);
                Map<Integer, Departure> gone = bootstrap.goneRanks();
                over.countDown();
                over.await();
                assertThatThrownBy(bootstrap::barrier).isInstanceOf(IllegalStateException.class)
                        .hasMessageMatching("rank (1 has left|2 has no device)");
                return gone;
            }
        });
        Map<Integer, Departure> gone = Map.of(1, new Departure(false, "has left"), 2,
                new Departure(true, "has no device"));
        assertThat(outcomes).containsExactly(gone, "left", "failed", gone);
    }

    @ParameterizedTest
    @EnumSource
    void whoCompletedACallGetsItsResultEvenIfOthersLeave(Meeting meeting) throws Exception {
        for (int repetition = 0; repetition < 20; repetition++) {
            Ranks.Maker maker = meeting.maker(folder, 4, OPTIONS);
            assertThat(Ranks.outcomes(4, maker, bootstrap -> Ranks.gathersRightly(bootstrap, 1))).containsOnly(true);
        }
        assertThat(folder).isEmptyDirectory();
    }

    @ParameterizedTest
    @EnumSource
    void aStoreRefusesAKeyTwiceAndALongValue(Meeting meeting) throws Exception {
        Store store = meeting.store(folder);
        try {
            store.put(0, new byte[]{1});
            assertThatThrownBy(() -> store.put(0, new byte[]{1})).isInstanceOf(IllegalStateException.class)
                    .hasMessage("rank 1 has put key 0 before");
            assertIllegalArgument(() -> store.put(1, new byte[(1 << 20) + 1]), "1048577 bytes are too many", "1048576");
            store.put(1, new byte[1 << 20]);
            assertThat(store.get(1, 0, Deadline.after(Duration.ZERO))).containsExactly(1);
            assertThat(store.get(0, 0, Deadline.after(Duration.ZERO))).isNull();
        } finally {
            store.leave(new Departure(false, "has left"));
        }
        assertIllegalState(() -> store.put(2, new byte[0]), "is closed");
    }

    @ParameterizedTest
    @EnumSource
    void aSecondThreadInACallIsRefused(Meeting meeting) throws Exception {
        Ranks.Maker maker = meeting.maker(folder, 2, OPTIONS);
        List<Object> outcomes = Ranks.outcomes(2, rank -> {
            try (Bootstrap bootstrap = maker.make(rank)) {
                bootstrap.barrier();
                if (rank == 0) {
                    AtomicReference<Throwable> end = new AtomicReference<>();
                    Thread first = Thread.ofPlatform().daemon().unstarted(bootstrap::barrier);
                    first.setUncaughtExceptionHandler((thread, e) -> end.set(e));
                    first.start();
                    awaitState(first, Thread.State.TIMED_WAITING);
                    assertIllegalState(bootstrap::barrier, "another thread is in a call");
                    bootstrap.leave("is done");
                    first.join();
                    assertThrown(IllegalStateException.class, end.get(), "is closed");
                    return "done";
                }
                return awaitGone(bootstrap, 0);
            }
        });
        assertThat(outcomes).containsExactly("done", new Departure(true, "is done"));
    }
}
