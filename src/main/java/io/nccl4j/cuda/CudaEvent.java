package io.nccl4j.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/** A point in a stream's work that others can wait for or measure between. */
public final class CudaEvent extends DeviceResource {
    private final boolean timing;
    private @Nullable CaptureScope recordedIn;

    private CudaEvent(long address, CudaDevice device, boolean timing) {
        super("CudaEvent", address, device, true);
        this.timing = timing;
    }

    /** An event for ordering only, {@code cudaEventCreateWithFlags(cudaEventDisableTiming)}: the cheap kind. */
    public static CudaEvent create(CudaDevice device) {
        return create(device, false);
    }

    /** An event that keeps the time at which it is reached. */
    public static CudaEvent createTiming(CudaDevice device) {
        return create(device, true);
    }

    private static CudaEvent create(CudaDevice device, boolean timing) {
        CaptureScope.refuse("CudaEvent.create", "create events before the capture");
        device.checkUsable();
        int flags = timing ? CudaRuntime.cudaEventDefault() : CudaRuntime.cudaEventDisableTiming();
        long address = device.call(() -> {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment out = arena.allocate(ADDRESS);
                device.check(CudaRuntime.cudaEventCreateWithFlags(out, flags), "cudaEventCreateWithFlags");
                return out.get(ADDRESS, 0).address();
            }
        });
        return new CudaEvent(address, device, timing);
    }

    /** Marks the work enqueued on {@code stream} so far, {@code cudaEventRecord}. Capturable: so does a capture fork. */
    public void record(CudaStream stream) {
        device().check(CudaRuntime.cudaEventRecord(segment(), stream.segment()), "cudaEventRecord");
        recordedIn = stream.scope();
        stream.retain(this);
    }

    /** The capture in which it was recorded last, if that was one. */
    @Nullable
    CaptureScope recordedIn() {
        return recordedIn;
    }

    /** Whether the marked work is done, {@code cudaEventQuery}. */
    public boolean isComplete() {
        CaptureScope.refuse("CudaEvent.isComplete", "ask after the replay");
        int status = CudaRuntime.cudaEventQuery(segment());
        if (status == CudaRuntime.cudaErrorNotReady()) {
            return false;
        }
        device().check(status, "cudaEventQuery");
        return true;
    }

    /** Asks until the marked work is done; false after the deadline or on an error, of which a sticky one is remembered. */
    boolean poll(long deadline) {
        MemorySegment self = segment();
        int status = Polling.until(() -> CudaRuntime.cudaEventQuery(self), deadline);
        if (status != 0 && status != CudaRuntime.cudaErrorNotReady()) {
            device().failed(status, "cudaEventQuery");
        }
        return status == 0;
    }

    /** Waits until the marked work is done, {@code cudaEventSynchronize}. */
    public void synchronize() {
        CaptureScope.refuse("CudaEvent.synchronize", "use CudaStream.waitEvent, or wait after the replay");
        device().check(CudaRuntime.cudaEventSynchronize(segment()), "cudaEventSynchronize");
    }

    /**
     * Milliseconds from {@code start} to this event, {@code cudaEventElapsedTime}; both must be complete timing events.
     *
     * @throws IllegalStateException if one was not created with {@link #createTiming}
     */
    public float elapsedMillisSince(CudaEvent start) {
        CaptureScope.refuse("CudaEvent.elapsedMillisSince", "measure after the replay");
        if (!timing || !start.timing) {
            throw new IllegalStateException((timing ? start : this) + " keeps no time: use CudaEvent.createTiming");
        }
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_FLOAT);
            device().check(CudaRuntime.cudaEventElapsedTime(out, start.segment(), segment()), "cudaEventElapsedTime");
            return out.get(JAVA_FLOAT, 0);
        }
    }

    MemorySegment segment() {
        return MemorySegment.ofAddress(address());
    }

    /** The runtime itself keeps a destroyed event until it is reached. */
    @Override
    boolean awaitLastUse(Deadline deadline) {
        return true;
    }

    @Override
    void destroy(long address) {
        device().check(CudaRuntime.cudaEventDestroy(MemorySegment.ofAddress(address)), "cudaEventDestroy");
    }
}
