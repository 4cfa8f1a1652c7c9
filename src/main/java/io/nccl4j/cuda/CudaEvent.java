package io.nccl4j.cuda;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * A point in a stream's work that others can wait for or measure between, {@code cudaEvent_t}.
 *
 * <p>Belongs to one thread, at first the one that made it; {@link #bindToCurrentThread} moves it. {@link #isComplete}
 * and {@link #synchronize} may come from any.
 */
public final class CudaEvent extends ConfinedResource {
    private final boolean timing;
    /** Held while a thread asks the native event, so that the owner does not destroy it meanwhile. */
    private final Object asking = new Object();
    private @Nullable CaptureScope recordedIn;

    private CudaEvent(long address, CudaDevice device, boolean timing) {
        super("CudaEvent", address, device, true);
        this.timing = timing;
    }

    /**
     * {@return an event for ordering only, {@code cudaEventCreateWithFlags(cudaEventDisableTiming)}: the cheap kind}
     *
     * @param device the device
     * @throws IllegalStateException during a capture
     * @throws CudaException if the device has failed
     */
    public static CudaEvent create(CudaDevice device) {
        return create(device, false);
    }

    /**
     * {@return an event that keeps the time at which it is reached}
     *
     * @param device the device
     * @throws IllegalStateException during a capture
     * @throws CudaException if the device has failed
     */
    public static CudaEvent createTiming(CudaDevice device) {
        return create(device, true);
    }

    private static CudaEvent create(CudaDevice device, boolean timing) {
        CaptureScope.refuse("CudaEvent.create", "create events before the capture");
        device.checkUsable();
        int flags = timing ? CudaRuntime.cudaEventDefault() : CudaRuntime.cudaEventDisableTiming();
        long address = device.create("cudaEventCreateWithFlags",
                out -> CudaRuntime.cudaEventCreateWithFlags(out, flags));
        return new CudaEvent(address, device, timing);
    }

    /**
     * Marks the work enqueued on {@code stream} so far, {@code cudaEventRecord}. Capturable: so does a capture fork.
     *
     * @param stream the stream that the work is enqueued on
     * @throws IllegalStateException if this or the stream is closed or belongs to another thread
     */
    public void record(CudaStream stream) {
        checkThread("CudaEvent.record");
        stream.checkThread("CudaEvent.record");
        check("cudaEventRecord", () -> CudaRuntime.cudaEventRecord(pointer(), stream.pointer()));
        recordedIn = stream.scope();
        stream.retain(this);
    }

    /** The capture in which it was recorded last, if that was one. */
    @Nullable
    CaptureScope recordedIn() {
        return recordedIn;
    }

    /**
     * {@return whether the marked work is done, {@code cudaEventQuery}} From any thread.
     *
     * @throws IllegalStateException after close, or during a capture
     * @throws CudaException if the work has failed
     */
    public boolean isComplete() {
        CaptureScope.refuse("CudaEvent.isComplete", "ask after the replay");
        checkNotReset("CudaEvent.isComplete");
        int status = query();
        if (status == CudaRuntime.cudaErrorNotReady()) {
            return false;
        }
        device().check(status, "cudaEventQuery");
        return true;
    }

    private int query() {
        synchronized (asking) {
            return CudaRuntime.cudaEventQuery(pointer());
        }
    }

    /**
     * Waits until the marked work is done, without a limit, {@code cudaEventSynchronize}. From any thread; an interrupt
     * does not end it.
     *
     * @throws IllegalStateException after close, also while another thread waits here, or during a capture
     * @throws CudaException if the work has failed
     */
    public void synchronize() {
        CaptureScope.refuse("CudaEvent.synchronize", "use CudaStream.waitEvent, or wait after the replay");
        checkNotReset("CudaEvent.synchronize");
        device().check(belongsToCurrentThread()
                ? CudaRuntime.cudaEventSynchronize(pointer())
                : Polling.uninterruptibly(this::query, Deadline.NEVER, this), "cudaEventSynchronize");
    }

    /**
     * {@return milliseconds from {@code start} to this event, {@code cudaEventElapsedTime}; both must be complete
     * timing events}
     *
     * @param start the earlier event
     * @throws IllegalStateException if one was not created with {@link #createTiming}, is closed or belongs to another
     *     thread
     * @throws CudaException if one is not complete
     */
    public float elapsedMillisSince(CudaEvent start) {
        CaptureScope.refuse("CudaEvent.elapsedMillisSince", "measure after the replay");
        checkThread("CudaEvent.elapsedMillisSince");
        start.checkThread("CudaEvent.elapsedMillisSince");
        if (!timing || !start.timing) {
            throw new IllegalStateException((timing ? start : this) + " keeps no time: use CudaEvent.createTiming");
        }
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_FLOAT);
            device().check(CudaRuntime.cudaEventElapsedTime(out, start.pointer(), pointer()), "cudaEventElapsedTime");
            return out.get(JAVA_FLOAT, 0);
        }
    }

    /** Waits for questions that other threads are asking. */
    @Override
    void released() {
        synchronized (asking) {
            recordedIn = null;
        }
    }

    /** The runtime itself keeps a destroyed event until it is reached. */
    @Override
    boolean awaitLastUse(Deadline deadline) {
        return true;
    }

    @Override
    void destroy(MemorySegment self) {
        device().check(CudaRuntime.cudaEventDestroy(self), "cudaEventDestroy");
    }
}
