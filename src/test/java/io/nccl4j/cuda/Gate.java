package io.nccl4j.cuda;

import java.util.concurrent.CountDownLatch;

/** Keeps a stream busy until it is opened. */
final class Gate implements AutoCloseable {
    private final CountDownLatch latch = new CountDownLatch(1);

    Gate(CudaStream stream) {
        stream.launchHostFunction(this::await);
    }

    private void await() {
        boolean open = false;
        while (!open) {
            try {
                latch.await();
                open = true;
            } catch (InterruptedException e) {
                // Threads of the runtime are not interrupted by anybody.
            }
        }
    }

    @Override
    public void close() {
        latch.countDown();
    }
}
