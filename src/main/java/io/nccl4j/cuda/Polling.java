package io.nccl4j.cuda;

import io.nccl4j.bindings.cudart.CudaRuntime;
import java.util.concurrent.locks.LockSupport;
import java.util.function.IntSupplier;

/** Waiting with a limit, which the CUDA runtime does not have: asks at growing intervals, a millisecond at most. */
final class Polling {
    private static final long FIRST_PAUSE_NANOS = 2_000;
    private static final long LONGEST_PAUSE_NANOS = 1_000_000;

    private Polling() {
    }

    /**
     * Asks until {@code query} answers something other than "not ready", or the deadline has passed.
     *
     * @return 0, {@code cudaErrorNotReady} after the deadline, or the error that it answered
     */
    static int until(IntSupplier query, long deadline) {
        long pause = FIRST_PAUSE_NANOS;
        while (true) {
            int status = query.getAsInt();
            if (status != CudaRuntime.cudaErrorNotReady() || System.nanoTime() - deadline >= 0) {
                return status;
            }
            LockSupport.parkNanos(pause);
            pause = Math.min(pause * 2, LONGEST_PAUSE_NANOS);
        }
    }
}
