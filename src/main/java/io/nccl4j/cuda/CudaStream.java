package io.nccl4j.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;

import io.nccl4j.NativeObject;
import io.nccl4j.WaitTimeoutException;
import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.LifecycleEvent;
import io.nccl4j.internal.StateChanges;
import io.nccl4j.internal.TimeLimit;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * A queue of device work, {@code cudaStream_t}. Work on one stream runs in the order in which it was enqueued.
 *
 * <p>Used by one thread at a time. Streams created here do not synchronise with the legacy default stream.
 */
public final class CudaStream extends DeviceResource {
    private static final long LEGACY = 1;

    private final StreamActivity activity;
    private @Nullable CaptureScope scope;
    private volatile @Nullable Throwable hostFailure;

    private CudaStream(String kind, long address, CudaDevice device, boolean owned) {
        super(kind, address, device, owned);
        this.activity = new StreamActivity(address, device);
        device.add(activity);
    }

    /** Creates a stream of normal priority, {@code cudaStreamCreateWithFlags(cudaStreamNonBlocking)}. */
    public static CudaStream create(CudaDevice device) {
        return create(device, 0);
    }

    /**
     * Creates a stream, {@code cudaStreamCreateWithPriority(cudaStreamNonBlocking)}.
     *
     * @param priority within {@link CudaDevice#priorityRange()}; CUDA clamps it
     */
    public static CudaStream create(CudaDevice device, int priority) {
        CaptureScope.refuse("CudaStream.create", "create streams before the capture");
        device.checkUsable();
        long address = device.call(() -> {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment out = arena.allocate(ADDRESS);
                device.check(
                        CudaRuntime.cudaStreamCreateWithPriority(out, CudaRuntime.cudaStreamNonBlocking(), priority),
                        "cudaStreamCreateWithPriority");
                return out.get(ADDRESS, 0).address();
            }
        });
        return new CudaStream("CudaStream", address, device, true);
    }

    /**
     * A stream of another owner, which must stay alive until this is closed; closing does not destroy it. If that owner captures
     * it, nccl4j does not know what the graph uses: capture with {@link #capture} instead.
     *
     * @throws IllegalArgumentException for the legacy default stream, which cannot be captured and serialises the device
     */
    public static CudaStream wrap(long address, CudaDevice device) {
        if (address == 0 || address == LEGACY) {
            throw new IllegalArgumentException(
                    "the legacy default stream is not supported: use a stream of your own, or "
                            + "cudaStreamPerThread (address 2)");
        }
        return new CudaStream("CudaStream(wrapped)", address, device, false);
    }

    /** Waits until all work enqueued so far is done, without a limit, {@code cudaStreamSynchronize}. */
    public void synchronize() {
        CaptureScope.refuse("CudaStream.synchronize", "synchronise after the replay");
        device().checkUsable();
        int status = CudaRuntime.cudaStreamSynchronize(segment());
        throwHostFailure();
        device().check(status, "cudaStreamSynchronize");
    }

    /**
     * Waits until all work enqueued so far is done.
     *
     * @throws WaitTimeoutException if it is not within {@code limit}
     */
    public void await(Duration limit) {
        CaptureScope.refuse("CudaStream.await", "wait after the replay");
        device().checkUsable();
        MemorySegment self = segment();
        int status = Polling.until(() -> CudaRuntime.cudaStreamQuery(self), System.nanoTime() + TimeLimit.nanos(limit));
        if (status == CudaRuntime.cudaErrorNotReady()) {
            throw new WaitTimeoutException(
                    "work on " + this + " is still pending after " + TimeLimit.millis(limit) + " ms");
        }
        device().check(status, "cudaStreamQuery");
        throwHostFailure();
    }

    /** Whether all work enqueued so far is done, {@code cudaStreamQuery}. */
    public boolean isIdle() {
        CaptureScope.refuse("CudaStream.isIdle", "ask after the replay");
        int status = CudaRuntime.cudaStreamQuery(segment());
        if (status == CudaRuntime.cudaErrorNotReady()) {
            return false;
        }
        throwHostFailure();
        device().check(status, "cudaStreamQuery");
        return true;
    }

    /**
     * Work enqueued from now on waits for what the event marks, {@code cudaStreamWaitEvent}. If the event was recorded in a
     * capture, this stream joins that capture.
     */
    public void waitEvent(CudaEvent event) {
        MemorySegment self = segment();
        MemorySegment mark = event.segment();
        CaptureScope of = event.recordedIn();
        boolean joins = of != null && of == CaptureScope.current() && scope == null;
        if (joins) {
            enterCapture(of);
        }
        int status = CudaRuntime.cudaStreamWaitEvent(self, mark, 0);
        if (status != 0 && joins) {
            leaveCapture();
        }
        device().check(status, "cudaStreamWaitEvent");
        retain(event);
    }

    /**
     * Enqueues a Java function, {@code cudaLaunchHostFunc}: it runs on a thread of the CUDA runtime when the work before it is
     * done, at every replay if captured, and the work after it waits. It must not call CUDA, NCCL or nccl4j, nor wait for anything
     * that does. If it throws, the next {@link #synchronize()} or {@link #await} of this stream throws that on.
     */
    public void launchHostFunction(Runnable function) {
        HostFunctions.launch(this, function, scope);
    }

    void hostFailure(Throwable e) {
        hostFailure = e;
    }

    private void throwHostFailure() {
        Throwable e = hostFailure;
        if (e != null) {
            hostFailure = null;
            throw new IllegalStateException("a host function on " + this + " threw " + e, e);
        }
    }

    /** {@link #capture(CaptureMode, Runnable)} in {@link CaptureMode#RELAXED} mode. */
    public CudaGraph capture(Runnable body) {
        return capture(CaptureMode.RELAXED, body);
    }

    /**
     * Captures what {@code body} enqueues on this stream, and on streams that it forks from it by events and joins again,
     * {@code cudaStreamBeginCapture} to {@code cudaStreamEndCapture}. The capture ends whatever happens in the body; if the body
     * throws, there is no graph and the exception is passed on. The graph keeps everything that the body uses from being
     * closed.
     *
     * @param mode what is forbidden meanwhile
     * @param body runs once, now, on this thread
     */
    public CudaGraph capture(CaptureMode mode, Runnable body) {
        device().checkUsable();
        MemorySegment self = segment();
        CaptureScope opened = CaptureScope.begin();
        boolean begun = false;
        boolean done = false;
        GraphContents contents = new GraphContents(opened);
        try {
            enterCapture(opened);
            device().check(CudaRuntime.cudaStreamBeginCapture(self, mode.code()), "cudaStreamBeginCapture");
            begun = true;
            opened.touch(this);
            body.run();
            opened.finish();
            long graph = endCapture();
            begun = false;
            CudaGraph result = graph(graph, contents);
            LifecycleEvent.emit("capture", result.toString());
            done = true;
            return result;
        } finally {
            if (begun) {
                endBrokenCapture();
            }
            contents.endCapture(this);
            opened.end();
            if (!done) {
                contents.release();
                opened.discard();
            }
        }
    }

    private CudaGraph graph(long address, GraphContents contents) {
        boolean done = false;
        try {
            CudaGraph graph = new CudaGraph(address, device(), contents);
            done = true;
            return graph;
        } finally {
            if (!done) {
                // Another thread has closed what the graph needs.
                CudaRuntime.cudaGraphDestroy(MemorySegment.ofAddress(address));
            }
        }
    }

    private long endCapture() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ADDRESS);
            device().check(CudaRuntime.cudaStreamEndCapture(segment(), out), "cudaStreamEndCapture");
            return out.get(ADDRESS, 0).address();
        }
    }

    /** Leaves the stream not capturing after the body has thrown; what was recorded is dropped. */
    private void endBrokenCapture() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ADDRESS);
            int status = CudaRuntime.cudaStreamEndCapture(segment(), out);
            MemorySegment graph = out.get(ADDRESS, 0);
            if (status == 0 && graph.address() != 0) {
                CudaRuntime.cudaGraphDestroy(graph);
            }
            CudaRuntime.cudaGetLastError();
        }
    }

    private void enterCapture(@Nullable CaptureScope capture) {
        activity.capturing(true);
        scope = capture;
        StateChanges.add();
    }

    void leaveCapture() {
        scope = null;
        activity.capturing(false);
    }

    /** Whether work enqueued now is recorded into a graph by {@link #capture} instead of being run. */
    public boolean isCapturing() {
        return scope != null;
    }

    @Nullable
    CaptureScope scope() {
        return scope;
    }

    /**
     * If this stream is capturing, the graph keeps {@code resource} from being closed; else does nothing. For callers whose own
     * kernels use it; nccl4j's own calls do so by themselves.
     */
    public void retain(NativeObject resource) {
        CaptureScope current = scope;
        if (current != null) {
            current.touch(resource);
            current.touch(this);
        }
    }

    void copy(long target, long source, long bytes) {
        if (bytes > 0) {
            device().check(
                    CudaRuntime.cudaMemcpyAsync(MemorySegment.ofAddress(target), MemorySegment.ofAddress(source), bytes,
                            CudaRuntime.cudaMemcpyDefault(), segment()),
                    "cudaMemcpyAsync");
        }
    }

    void fill(long target, byte value, long bytes) {
        device().check(CudaRuntime.cudaMemsetAsync(MemorySegment.ofAddress(target), value, bytes, segment()),
                "cudaMemsetAsync");
    }

    MemorySegment segment() {
        return MemorySegment.ofAddress(address());
    }

    @Override
    void released() {
        activity.close();
        device().remove(activity);
    }

    /** The runtime itself keeps a destroyed stream until its work is done. */
    @Override
    boolean awaitLastUse(Deadline deadline) {
        return true;
    }

    @Override
    void destroy(long address) {
        device().check(CudaRuntime.cudaStreamDestroy(MemorySegment.ofAddress(address)), "cudaStreamDestroy");
    }
}
