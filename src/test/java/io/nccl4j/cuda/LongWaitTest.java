package io.nccl4j.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.checks.LogListener;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** A wait of more than a second is told while it lasts: each of these ends when the log has told of it. */
class LongWaitTest {
    private final CountDownLatch line = new CountDownLatch(1);

    private List<String> listen(Runnable body) {
        try (LogListener log = new LogListener("io.nccl4j.waits", told -> line.countDown())) {
            body.run();
            return log.lines();
        }
    }

    private void awaitLine() {
        try {
            line.await(30, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Test
    @EmulatedRanks(1)
    void ofAStream(EmulatedCluster cluster) {
        List<String> told = listen(() -> cluster.run(rank -> {
            try (CudaStream stream = CudaStream.create(rank.device())) {
                stream.launchHostFunction(this::awaitLine);
                stream.await(Duration.ofSeconds(40));
            }
        }));
        assertThat(told).singleElement().asString().contains("still waiting for work on CudaStream#", "at most 3");
    }

    @Test
    @EmulatedRanks(2)
    void ofANativeCallThatWaitsForRanks(EmulatedCluster cluster) {
        List<String> told = listen(() -> cluster.run(rank -> {
            Communicator comm = Communicator.init(rank.bootstrap(), rank.device());
            if (rank.rank() == 1) {
                awaitLine();
            }
            comm.callCollectively("a meeting", Duration.ofSeconds(40), () -> {
                rank.bootstrap().barrier();
                return 0;
            });
            comm.close();
        }));
        assertThat(told).anySatisfy(
                text -> assertThat(text).contains("still waiting for a meeting", "rank 0 of 2", "other ranks"));
    }
}
