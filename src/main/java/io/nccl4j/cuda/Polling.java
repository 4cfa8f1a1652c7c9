package io.nccl4j.cuda;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.LongWait;
import java.util.concurrent.CancellationException;
import java.util.concurrent.locks.LockSupport;
import java.util.function.IntSupplier;

/**
 * Waiting with a limit, which the CUDA runtime does not have: asks without a pause first, then at growing intervals, a
 * millisecond at most.
 */
final class Polling {
    /**
     * How long it asks without a pause: the shortest sleep takes Linux some 55 µs, as long as a layer takes the device,
     * and a handle that is closed waits for its layer.
     */
    private static final long BUSY_NANOS = 200_000;
    private static final long FIRST_PAUSE_NANOS = 2_000;
    private static final long LONGEST_PAUSE_NANOS = 1_000_000;

    private Polling() {
    }

    /**
     * Asks until {@code query} answers something other than "not ready", or the deadline has passed.
     *
     * @param what is waited for, for the message
     * @return 0, {@code cudaErrorNotReady} after the deadline, or the error that it answered
     * @throws CancellationException if this thread is interrupted; its flag stays set
     */
    static int until(IntSupplier query, Deadline deadline, Object what) {
        return poll(query, deadline, what, true);
    }

    /** The same for waits that an interrupt does not end; the thread's flag is set again afterwards. */
    static int uninterruptibly(IntSupplier query, Deadline deadline, Object what) {
        return poll(query, deadline, what, false);
    }

    private static int poll(IntSupplier query, Deadline deadline, Object what, boolean interruptible) {
        boolean interrupted = false;
        LongWait wait = new LongWait(what, deadline);
        try {
            int status = busily(query, deadline);
            for (long pause = FIRST_PAUSE_NANOS; isPending(status, deadline); pause = next(pause)) {
                wait.goesOn();
                // Parking returns at once while the flag is set.
                interrupted |= Thread.interrupted();
                if (interrupted && interruptible) {
                    throw new CancellationException("interrupted while waiting for " + what + ", which goes on");
                }
                LockSupport.parkNanos(pause);
                status = ask(query);
            }
            return status;
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    /** Asks without a pause for a short time, at most until this thread is interrupted; answers like the others. */
    static int busily(IntSupplier query, Deadline deadline) {
        long begin = System.nanoTime();
        int status = ask(query);
        while (isPending(status, deadline) && System.nanoTime() - begin < BUSY_NANOS
                && !Thread.currentThread().isInterrupted()) {
            Thread.onSpinWait();
            status = ask(query);
        }
        return status;
    }

    /** Does not ask while another thread captures in GLOBAL mode: the question would break that capture. */
    private static int ask(IntSupplier query) {
        return CaptureScope.isGlobalElsewhere() ? CudaRuntime.cudaErrorNotReady() : query.getAsInt();
    }

    private static boolean isPending(int status, Deadline deadline) {
        return status == CudaRuntime.cudaErrorNotReady() && !deadline.isOver();
    }

    private static long next(long pause) {
        return Math.min(pause * 2, LONGEST_PAUSE_NANOS);
    }
}
