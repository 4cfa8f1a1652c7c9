package io.nccl4j.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Keeps a stream or a thread busy until it is opened, so that a call which waits for it shows. */
public final class Gate implements AutoCloseable {
    private static final Duration LIMIT = Duration.ofSeconds(30);

    private final CountDownLatch latch = new CountDownLatch(1);
    private volatile boolean gaveUp;

    /** A closed one. */
    public Gate() {
        // All of it is in the fields.
    }

    /** Everything enqueued on the stream from now on waits. */
    public static Gate on(CudaStream stream) {
        Gate gate = new Gate();
        stream.launchHostFunction(gate::await);
        return gate;
    }

    /** Waits until it is open, whoever interrupts. */
    public void await() {
        long end = System.nanoTime() + LIMIT.toNanos();
        boolean interrupted = false;
        while (latch.getCount() > 0 && !gaveUp) {
            try {
                gaveUp = !latch.await(end - System.nanoTime(), TimeUnit.NANOSECONDS);
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /** The work goes on. */
    public void open() {
        latch.countDown();
    }

    /** Nobody has waited for what stands behind the gate. */
    public void verifyClosed() {
        assertThat(gaveUp).as("a call has waited for the stream").isFalse();
        assertThat(latch.getCount()).isEqualTo(1);
    }

    @Override
    public void close() {
        open();
    }
}
