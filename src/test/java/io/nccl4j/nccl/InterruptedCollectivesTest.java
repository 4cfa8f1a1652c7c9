package io.nccl4j.nccl;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.checks.Condition;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.Gate;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.internal.BoundedCall;
import io.nccl4j.internal.Deadline;
import io.nccl4j.junit.EmulatedRanks;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** An interrupt is not a time limit: collective creates and closes end when all ranks have come. */
@Timeout(60)
@EmulatedRanks(2)
class InterruptedCollectivesTest {
    @Test
    void r2AnInterruptedRankCreatesAndClosesWithTheOthers(EmulatedCluster cluster) {
        EmulatorUsage before = Emulator.usage();
        cluster.run(rank -> {
            UniqueId id = rank.bootstrap().exchangeUniqueId();
            boolean interrupted = rank.rank() == 0;
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
            Communicator communicator = Communicator.init(id, rank.rank(), 2, rank.device());
            checkFlag(interrupted, "init");
            DeviceMemory memory = communicator.allocate(4096);
            Window window = communicator.register(memory);
            checkFlag(interrupted, "register");
            Communicator part = communicator.split(0, 0);
            checkFlag(interrupted, "split");
            for (AutoCloseable object : new AutoCloseable[]{part, window, memory, communicator}) {
                object.close();
                checkFlag(interrupted, "close of " + object);
            }
            Thread.interrupted();
        });
        assertThat(Emulator.usage().leakedSince(before)).isEmpty();
    }

    private static void checkFlag(boolean expected, String after) {
        assertThat(Thread.currentThread().isInterrupted()).as("flag after %s", after).isEqualTo(expected);
    }

    @Test
    void r2AnInterruptDuringACallDoesNotEndTheWait() throws Exception {
        CountDownLatch inside = new CountDownLatch(1);
        Gate gate = new Gate();
        FutureTask<String> call = new FutureTask<>(() -> {
            String result = BoundedCall.run("probe", Deadline.after(Duration.ofSeconds(30)), () -> {
                inside.countDown();
                gate.await();
                return "done";
            });
            return result + ", flag " + Thread.currentThread().isInterrupted();
        });
        Thread caller = Thread.ofPlatform().start(call);
        inside.await();
        caller.interrupt();
        Condition.await("the wait has taken the flag", () -> !caller.isInterrupted());
        gate.open();
        assertThat(call.get(20, TimeUnit.SECONDS)).isEqualTo("done, flag true");
    }
}
