package io.nccl4j.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Questions about a stream's work, from any thread, while the owner captures or closes the stream. Does not refer to
 * the {@link CudaStream}, so that one that was dropped is reported.
 */
final class StreamActivity {
    private final MemorySegment stream;
    private final CudaDevice device;
    private final String label;
    /** A question would break the capture. */
    private boolean capturing;
    private boolean closed;

    StreamActivity(long address, CudaDevice device, String label) {
        this.stream = MemorySegment.ofAddress(address);
        this.device = device;
        this.label = label;
    }

    /** To be called before a capture begins, and after it has ended. */
    synchronized void capturing(boolean now) {
        capturing = now;
    }

    /** No question reaches the native stream any more; one that is being asked has its answer. */
    synchronized void close() {
        closed = true;
    }

    /**
     * {@code cudaStreamQuery}.
     *
     * @throws IllegalStateException if the stream is closed or is being captured
     */
    synchronized int query() {
        if (closed || capturing) {
            throw new IllegalStateException(label
                    + (closed ? " was closed by the thread that owns it" : " is being captured: ask after the replay"));
        }
        return CudaRuntime.cudaStreamQuery(stream);
    }

    /** Remembers a sticky error of the device, if the stream shows one. */
    synchronized void observe() {
        if (!closed && !capturing && !CaptureScope.isGlobalElsewhere()) {
            int status = CudaRuntime.cudaStreamQuery(stream);
            if (status != 0 && status != CudaRuntime.cudaErrorNotReady()) {
                device.failed(status, "cudaStreamQuery");
            }
        }
    }

    /** Waits for what was enqueued so far, also if others go on enqueuing; false after the deadline or on an error. */
    boolean awaitEnqueued(Deadline deadline) {
        // Mostly the stream is idle soon, and needs no mark.
        if (Polling.busily(this::idle, deadline) == 0) {
            return true;
        }
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ADDRESS);
            int status = mark(out);
            MemorySegment mark = out.get(ADDRESS, 0);
            if (mark.address() == 0) {
                return status == 0;
            }
            if (status == 0) {
                status = Polling.uninterruptibly(() -> CudaRuntime.cudaEventQuery(mark), deadline, "work on " + label);
            }
            CudaRuntime.cudaEventDestroy(mark);
            if (status != 0 && status != CudaRuntime.cudaErrorNotReady()) {
                device.failed(status, "cudaEventQuery");
            }
            return status == 0;
        }
    }

    /** Whether there is work that is not done. */
    boolean isPending() {
        return idle() == CudaRuntime.cudaErrorNotReady();
    }

    /** 0 if all work is done; also if it is being captured. */
    private synchronized int idle() {
        return closed || capturing ? 0 : CudaRuntime.cudaStreamQuery(stream);
    }

    /** Marks the work that was enqueued so far with an event; with none if it is done, or is being captured. */
    private synchronized int mark(MemorySegment out) {
        if (CaptureScope.isGlobalElsewhere()) {
            return CudaRuntime.cudaErrorNotReady();
        }
        if (idle() == 0) {
            return 0;
        }
        try {
            return device.call(() -> {
                int status = CudaRuntime.cudaEventCreateWithFlags(out, CudaRuntime.cudaEventDisableTiming());
                return status != 0 ? status : CudaRuntime.cudaEventRecord(out.get(ADDRESS, 0), stream);
            });
        } catch (CudaException e) {
            return e.code();
        }
    }
}
