package io.nccl4j.ep.graphs;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaStream;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Work of a stream that does not end before it is told to, so that a call which waits for the stream shows. */
final class Gate implements AutoCloseable {
    private static final Duration LIMIT = Duration.ofSeconds(10);

    private final CountDownLatch latch = new CountDownLatch(1);
    private volatile boolean gaveUp;

    /** Everything enqueued on the stream from now on waits. */
    static Gate on(CudaStream stream) {
        Gate gate = new Gate();
        stream.launchHostFunction(gate::await);
        return gate;
    }

    private void await() {
        try {
            gaveUp = !latch.await(LIMIT.toMillis(), TimeUnit.MILLISECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** The work goes on. */
    void open() {
        latch.countDown();
    }

    /** Nobody has waited for what stands behind the gate. */
    void verifyClosed() {
        assertThat(gaveUp).as("a call has waited for the stream").isFalse();
        assertThat(latch.getCount()).isEqualTo(1);
    }

    @Override
    public void close() {
        open();
    }
}
