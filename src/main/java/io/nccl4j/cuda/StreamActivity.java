package io.nccl4j.cuda;

import io.nccl4j.bindings.cudart.CudaRuntime;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What the device asks of a stream on behalf of others: whether its work is done, whether it has failed. From any thread, while
 * the owner captures or closes the stream. Does not refer to the {@link CudaStream}, so that one that was dropped is reported.
 */
final class StreamActivity {
    private final MemorySegment stream;
    private final CudaDevice device;
    /** A question would break the capture. */
    private boolean capturing;
    private boolean closed;

    StreamActivity(long address, CudaDevice device) {
        this.stream = MemorySegment.ofAddress(address);
        this.device = device;
    }

    /** To be called before a capture begins, and after it has ended. */
    synchronized void capturing(boolean now) {
        capturing = now;
    }

    /** No question reaches the native stream any more. */
    synchronized void close() {
        closed = true;
    }

    /** Remembers a sticky error of the device, if the stream shows one. */
    synchronized void observe() {
        if (!closed && !capturing) {
            int status = CudaRuntime.cudaStreamQuery(stream);
            if (status != 0 && status != CudaRuntime.cudaErrorNotReady()) {
                device.failed(status, "cudaStreamQuery");
            }
        }
    }

    /** Waits for what was enqueued so far, also if others go on enqueuing; false after the deadline or on an error. */
    boolean awaitEnqueued(long deadline) {
        try (CudaEvent mark = mark()) {
            return mark == null || mark.poll(deadline);
        } catch (CudaException e) {
            return false;
        }
    }

    /** Adds a mark of the work that was enqueued so far, if that is not done; false while the stream is being captured. */
    synchronized boolean addMark(List<CudaEvent> marks) {
        if (capturing && !closed) {
            return false;
        }
        CudaEvent mark = mark();
        if (mark != null) {
            marks.add(mark);
        }
        return true;
    }

    /** Marks the work that was enqueued so far; null if it is done, or is being captured. */
    private synchronized @Nullable CudaEvent mark() {
        if (closed || capturing || CudaRuntime.cudaStreamQuery(stream) == 0) {
            return null;
        }
        CudaEvent mark = CudaEvent.create(device);
        boolean done = false;
        try {
            device.check(CudaRuntime.cudaEventRecord(mark.segment(), stream), "cudaEventRecord");
            done = true;
            return mark;
        } finally {
            if (!done) {
                mark.close();
            }
        }
    }
}
