package io.nccl4j.safety;

import static io.nccl4j.checks.Refusals.assertThrown;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.nccl4j.NativeCallException;
import io.nccl4j.NativeObject;
import io.nccl4j.cuda.CaptureMode;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.emulator.Fault;
import io.nccl4j.ep.graph.EpHandlePool;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * R2, R9, H1, H4, H9: everything that is made and closed, in every situation in which that may happen. A cell of the
 * table is a test: {@code +} works, {@code r} is refused in words before anything native, {@code f} fails with the
 * device's failure or for lack of memory. Whatever happens, nothing is half made or left behind, an interrupt flag is
 * set afterwards if it was before, and what is refused can be closed later.
 */
@Timeout(60)
@EmulatedRanks(1)
class InterruptsThreadsAndFailuresTest {
    /**
     * Interrupted before, during and after the creation; made by a foreign thread, closed by one; made and closed by a
     * virtual thread; made on a lost device, closed on one that was lost since; made on a full device; made and closed
     * while another thread captures in GLOBAL mode.
     */
    private static final String TABLE = """
            made                  | before during after | foreign closed | virtual | dead lost | full | captured closed
            STREAM                |   +      +      +   |    +       r   |    +    |  f    +   |   +  |    r       r
            EVENT                 |   +      +      +   |    +       r   |    +    |  f    +   |   +  |    r       r
            DEVICE_MEMORY         |   +      +      +   |    +       +   |    +    |  f    +   |   f  |    r       r
            STREAM_ORDERED_MEMORY |   +      +      +   |    r       +   |    r    |  f    +   |   f  |    r       r
            PINNED_MEMORY         |   +      +      +   |    +       +   |    +    |  f    +   |   +  |    r       r
            MODULE                |   +      +      +   |    +       +   |    +    |  f    +   |   +  |    r       r
            SHARED_MEMORY         |   +      +      +   |    +       +   |    +    |  f    +   |   f  |    r       r
            COMMUNICATOR          |   +      +      +   |    +       +   |    +    |  f    +   |   +  |    r       r
            SPLIT                 |   +      +      +   |    +       +   |    +    |  f    +   |   +  |    r       r
            WINDOW                |   +      +      +   |    +       +   |    +    |  f    +   |   f  |    r       r
            GROUP                 |   +      +      +   |    +       r   |    r    |  f    +   |   r  |    r       r
            HANDLE                |   +      +      +   |    r       r   |    r    |  f    +   |   f  |    r       r
            UPDATED_HANDLE        |   +      +      +   |    r       r   |    r    |  f    +   |   r  |    r       r
            BUFFERS               |   +      +      +   |    r       r   |    r    |  f    +   |   r  |    r       r
            POOL                  |   +      +      +   |    r       r   |    r    |  f    +   |   f  |    r       r
            GRAPH                 |   +      +      +   |    r       r   |    r    |  f    +   |   +  |    +       r
            PIECEWISE_GRAPH       |   +      +      +   |    r       r   |    r    |  f    +   |   +  |    r       r
            """;

    private enum Situation {
        BEFORE, DURING, AFTER, FOREIGN, CLOSED_BY_FOREIGN, VIRTUAL, DEAD, LOST, FULL, CAPTURED, CLOSED_WHILE_CAPTURED
    }

    private enum Outcome {
        WORKS, REFUSED, FAILS
    }

    private record Cell(Made made, Situation situation, Outcome expected) {
    }

    static List<Cell> cells() {
        List<Cell> cells = new ArrayList<>();
        for (String line : TABLE.lines().skip(1).toList()) {
            String[] columns = Arrays.stream(line.split("[| ]+")).filter(text -> !text.isEmpty())
                    .toArray(String[]::new);
            for (Situation situation : Situation.values()) {
                cells.add(new Cell(Made.valueOf(columns[0]), situation, switch (columns[1 + situation.ordinal()]) {
                    case "+" -> Outcome.WORKS;
                    case "r" -> Outcome.REFUSED;
                    case "f" -> Outcome.FAILS;
                    default -> throw new IllegalArgumentException(line);
                }));
            }
        }
        return cells;
    }

    @Test
    void everythingThatIsMadeHasALine() {
        assertThat(cells().stream().map(Cell::made).distinct()).containsExactly(Made.values());
    }

    @ParameterizedTest
    @MethodSource("cells")
    @EmulatedRanks(value = 1, allowLeaks = true)
    void endsAsTheTableSays(Cell cell, EmulatedCluster cluster) {
        cluster.run(rank -> {
            LayerKind kind = LayerKind.HT_FLAT;
            EmulatorUsage empty = Emulator.usage();
            MoeRank world = MoeRank.of(rank, kind, kind.draw(1, 900));
            MoeLayer layer = world.layer();
            layer.handle().warmUp(layer.buffers(), 1, world.stream());
            EmulatorUsage before = Emulator.usage();
            Throwable thrown = run(cell, world, layer);
            assertThat(outcome(thrown)).as("%s: %s", cell, thrown).isEqualTo(cell.expected);
            if (world.device().failure() == null) {
                // Memory in stream order is given back in stream order.
                world.device().synchronize();
            }
            boolean dead = cell.situation == Situation.DEAD || cell.situation == Situation.LOST;
            assertThat(Emulator.usage().leakedSince(before)).as("%s", cell)
                    .allMatch(left -> cell.situation == Situation.LOST);
            world.close();
            assertThat(Emulator.usage().leakedSince(empty)).as("%s", cell).allMatch(left -> dead);
            assertThat(Thread.interrupted()).isEqualTo(cell.situation.ordinal() <= Situation.AFTER.ordinal());
        });
    }

    private static Outcome outcome(@Nullable Throwable thrown) {
        if (thrown == null) {
            return Outcome.WORKS;
        }
        return thrown instanceof NativeCallException ? Outcome.FAILS : Outcome.REFUSED;
    }

    /** The exception of the making or the closing, whichever is looked at; afterwards nothing is open. */
    private static @Nullable Throwable run(Cell cell, MoeRank world, MoeLayer layer) throws Exception {
        Made made = cell.made;
        return switch (cell.situation) {
            case BEFORE -> {
                Thread.currentThread().interrupt();
                yield makeAndClose(made, world, layer);
            }
            case DURING -> interrupted(made, world, layer);
            case AFTER -> {
                AutoCloseable result = made.make(world, layer);
                Thread.currentThread().interrupt();
                yield catchThrowable(result::close);
            }
            case FOREIGN -> on(Thread.ofPlatform(), () -> makeAndClose(made, world, layer));
            case VIRTUAL -> on(Thread.ofVirtual(), () -> makeAndClose(made, world, layer));
            case CLOSED_BY_FOREIGN -> {
                AutoCloseable result = made.make(world, layer);
                yield thenHere(result, on(Thread.ofPlatform(), () -> catchThrowable(result::close)));
            }
            case DEAD -> {
                loseDevice(world, layer);
                yield makeAndClose(made, world, layer);
            }
            case LOST -> {
                AutoCloseable result = made.make(world, layer);
                loseDevice(world, layer);
                yield catchThrowable(result::close);
            }
            case FULL -> {
                try (DeviceMemory taken = DeviceMemory.allocate(world.device(),
                        world.device().memoryInfo().freeBytes())) {
                    assertThat(taken.byteSize()).isPositive();
                    yield makeAndClose(made, world, layer);
                }
            }
            case CAPTURED -> {
                List<AutoCloseable> results = new ArrayList<>();
                Throwable thrown = whileAnotherCaptures(world,
                        () -> catchThrowable(() -> results.add(made.make(world, layer))));
                for (AutoCloseable result : results) {
                    result.close();
                }
                yield thrown;
            }
            case CLOSED_WHILE_CAPTURED -> {
                AutoCloseable result = made.make(world, layer);
                yield thenHere(result, whileAnotherCaptures(world, () -> catchThrowable(result::close)));
            }
        };
    }

    private interface Action {
        @Nullable
        Throwable run() throws Exception;
    }

    private static @Nullable Throwable makeAndClose(Made made, MoeRank world, MoeLayer layer) {
        return catchThrowable(() -> made.make(world, layer).close());
    }

    /** An object that was refused is still open, and can be closed here. */
    private static @Nullable Throwable thenHere(AutoCloseable result, @Nullable Throwable thrown) throws Exception {
        if (thrown != null) {
            assertThat(result instanceof NativeObject object && object.isClosed()).isFalse();
            result.close();
        }
        return thrown;
    }

    private static @Nullable Throwable on(Thread.Builder builder, Action action) throws Exception {
        FutureTask<@Nullable Throwable> task = new FutureTask<>(action::run);
        builder.start(task);
        return task.get();
    }

    /** Another thread interrupts this one until it is done. */
    private static @Nullable Throwable interrupted(Made made, MoeRank world, MoeLayer layer) throws Exception {
        Thread victim = Thread.currentThread();
        CountDownLatch begun = new CountDownLatch(1);
        CountDownLatch done = new CountDownLatch(1);
        FutureTask<@Nullable Throwable> task = new FutureTask<>(() -> {
            do {
                victim.interrupt();
                begun.countDown();
                // Once more as long as that one was taken notice of.
            } while (!done.await(1, TimeUnit.MILLISECONDS));
            return null;
        });
        Thread.ofPlatform().start(task);
        Throwable thrown = null;
        whileInterrupted(begun::await);
        for (int turn = 0; turn < 5 && thrown == null; turn++) {
            thrown = makeAndClose(made, world, layer);
        }
        done.countDown();
        Thread.interrupted();
        whileInterrupted(task::get);
        victim.interrupt();
        return thrown;
    }

    private interface Blocking {
        void run() throws Exception;
    }

    /** Waits to the end, however often this thread is interrupted. */
    private static void whileInterrupted(Blocking call) throws Exception {
        while (true) {
            try {
                call.run();
                return;
            } catch (InterruptedException e) {
                // That is what it is for.
            }
        }
    }

    private static void loseDevice(MoeRank world, MoeLayer layer) {
        Emulator.inject(new Fault.FailLaunch(world.device().ordinal(), 1));
        assertThat(catchThrowable(() -> {
            layer.buffers().combined().memory().fillAsync((byte) 0, world.stream());
            world.await();
        })).isInstanceOf(NativeCallException.class);
        assertThat(world.device().failure()).isNotNull();
    }

    private static @Nullable Throwable whileAnotherCaptures(MoeRank world, Action action) throws Exception {
        CountDownLatch capturing = new CountDownLatch(1);
        CountDownLatch done = new CountDownLatch(1);
        FutureTask<@Nullable Throwable> other = new FutureTask<>(() -> catchThrowable(() -> {
            try (CudaStream stream = CudaStream.create(world.device())) {
                stream.capture(CaptureMode.GLOBAL, () -> {
                    capturing.countDown();
                    try {
                        done.await();
                    } catch (InterruptedException e) {
                        throw new IllegalStateException(e);
                    }
                }).close();
            }
        }));
        Thread.ofPlatform().start(other);
        capturing.await();
        Throwable thrown;
        try {
            thrown = action.run();
        } finally {
            done.countDown();
        }
        assertThat(other.get()).as("the capture of the other thread").isNull();
        return thrown;
    }

    /** A wait answers an interrupt if no other rank depends on it; the others go on and keep the flag. */
    private enum Wait {
        AWAIT, AWAIT_UNINTERRUPTIBLY, SYNCHRONIZE, OF_THE_DEVICE, OF_THE_WHOLE_DEVICE;

        boolean answers() {
            return this == AWAIT;
        }

        void run(MoeRank world) {
            switch (this) {
                case AWAIT -> world.await();
                case AWAIT_UNINTERRUPTIBLY -> world.stream().awaitUninterruptibly(MoeRank.LIMIT);
                case SYNCHRONIZE -> world.stream().synchronize();
                case OF_THE_DEVICE -> assertThat(world.device().awaitEnqueued(MoeRank.LIMIT)).isTrue();
                case OF_THE_WHOLE_DEVICE -> world.device().synchronize();
            }
        }
    }

    private enum Waiter {
        OWNER, FOREIGN, VIRTUAL
    }

    private record WaitCell(Wait kind, Waiter waiter, boolean interrupted) {
    }

    static Stream<WaitCell> waits() {
        return Arrays.stream(Wait.values()).flatMap(wait -> Arrays.stream(Waiter.values())
                .flatMap(waiter -> Stream.of(new WaitCell(wait, waiter, false), new WaitCell(wait, waiter, true))));
    }

    /** From any thread, while the stream is held; and once more when it is not, which loses nothing. */
    @ParameterizedTest
    @MethodSource("waits")
    void aWaitAnswersAnInterruptIfItIsThisRanksAlone(WaitCell cell, EmulatedCluster cluster) {
        cluster.run(rank -> {
            LayerKind kind = LayerKind.LL_RANK_MAJOR;
            try (MoeRank world = MoeRank.of(rank, kind, kind.draw(1, 901))) {
                CountDownLatch gate = new CountDownLatch(1);
                world.stream().launchHostFunction(() -> {
                    try {
                        gate.await();
                    } catch (InterruptedException e) {
                        throw new IllegalStateException(e);
                    }
                });
                boolean answers = cell.interrupted && cell.kind.answers();
                if (!answers) {
                    // Nothing but the end of the work ends it.
                    Thread.ofPlatform().start(gate::countDown);
                }
                Action wait = () -> {
                    if (cell.interrupted) {
                        Thread.currentThread().interrupt();
                    }
                    Throwable thrown = catchThrowable(() -> cell.kind.run(world));
                    assertThat(Thread.interrupted()).isEqualTo(cell.interrupted);
                    return thrown;
                };
                Throwable thrown = cell.waiter == Waiter.OWNER
                        ? wait.run()
                        : on(cell.waiter == Waiter.VIRTUAL ? Thread.ofVirtual() : Thread.ofPlatform(), wait);
                if (answers) {
                    assertThat(thrown).isInstanceOf(CancellationException.class);
                } else {
                    assertThat(thrown).isNull();
                }
                gate.countDown();
                cell.kind.run(world);
                assertThat(world.stream().isIdle()).isTrue();
            }
        });
    }

    /** So does a slot of a pool, which is waited for like that. */
    @Test
    void waitingForASlotAnswersAnInterrupt(EmulatedCluster cluster) {
        cluster.run(rank -> {
            LayerKind kind = LayerKind.LL_RANK_MAJOR;
            try (MoeRank world = MoeRank.of(rank, kind, kind.draw(1, 902));
                    EpHandlePool pool = EpHandlePool.builder(world.group()).slots(1).waitAtMost(MoeRank.LIMIT)
                            .build(world.rows())) {
                try (EpHandlePool.Slot slot = pool.acquire()) {
                    Thread.currentThread().interrupt();
                    assertThrown(IllegalStateException.class, catchThrowable(pool::acquire),
                            "interrupted while waiting for " + slot);
                    assertThat(Thread.interrupted()).isTrue();
                }
                pool.acquire().close();
            }
        });
    }
}
