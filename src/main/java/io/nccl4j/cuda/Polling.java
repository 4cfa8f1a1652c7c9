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

    /** Whether {@code query} came to answer success before the deadline; another error is remembered by the device. */
    static boolean until(IntSupplier query, String function, CudaDevice device, long deadline) {
        long pause = FIRST_PAUSE_NANOS;
        while (true) {
            int status = query.getAsInt();
            if (status == 0) {
                return true;
            }
            if (status != CudaRuntime.cudaErrorNotReady()) {
                device.failed(status, function);
                return false;
            }
            if (System.nanoTime() - deadline >= 0) {
                return false;
            }
            LockSupport.parkNanos(pause);
            pause = Math.min(pause * 2, LONGEST_PAUSE_NANOS);
        }
    }
}
