package io.nccl4j.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.Test;

/** A wait of more than a second is told while it lasts: each of these ends when the log has told of it. */
class LongWaitTest {
    private final List<String> told = new CopyOnWriteArrayList<>();
    private final CountDownLatch line = new CountDownLatch(1);

    private void listen(Runnable body) {
        Handler handler = new Handler() {
            @Override
            public void publish(LogRecord record) {
                told.add(record.getMessage());
                line.countDown();
            }

            @Override
            public void flush() {
            }

            @Override
            public void close() {
            }
        };
        Logger logger = Logger.getLogger("io.nccl4j.waits");
        logger.addHandler(handler);
        try {
            body.run();
        } finally {
            logger.removeHandler(handler);
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
        listen(() -> cluster.run(rank -> {
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
        listen(() -> cluster.run(rank -> {
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
