package io.nccl4j.cuda;

import io.nccl4j.NativeObject;
import io.nccl4j.WaitTimeoutException;
import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.FlightRecording;
import io.nccl4j.internal.Out;
import io.nccl4j.internal.Ownership;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.concurrent.CancellationException;
import org.jspecify.annotations.Nullable;

/**
 * A queue of device work, {@code cudaStream_t}. Work on one stream runs in the order in which it was enqueued.
 *
 * <p>Belongs to one thread, at first the one that made it; {@link #bindToCurrentThread} moves it. {@link #await},
 * {@link #synchronize} and {@link #isIdle} may come from any; the owner may close the stream meanwhile, which those
 * calls answer with an {@link IllegalStateException}. Streams created here do not synchronise with the legacy default
 * stream.
 */
public final class CudaStream extends ConfinedResource {
    private static final long LEGACY = 1;

    private final StreamActivity activity;
    private @Nullable CaptureScope scope;
    private volatile @Nullable Throwable hostFailure;
    private boolean abandoned;

    private CudaStream(String kind, long address, CudaDevice device, boolean owned) {
        super(kind, address, device, owned);
        this.activity = new StreamActivity(address, device, label());
        device.add(activity);
    }

    /**
     * Creates a stream of normal priority, {@code cudaStreamCreateWithPriority(cudaStreamNonBlocking)}.
     *
     * @param device the device
     * @return the stream
     * @throws IllegalStateException during a capture
     * @throws CudaException if the device has failed
     */
    public static CudaStream create(CudaDevice device) {
        return create(device, 0);
    }

    /**
     * Creates a stream, {@code cudaStreamCreateWithPriority(cudaStreamNonBlocking)}.
     *
     * @param device the device
     * @param priority within {@link CudaDevice#priorityRange()}; CUDA clamps it
     * @return the stream
     * @throws IllegalStateException during a capture
     * @throws CudaException if the device has failed
     */
    public static CudaStream create(CudaDevice device, int priority) {
        CaptureScope.refuse("CudaStream.create", "create streams before the capture");
        device.checkUsable();
        long address = device.create("cudaStreamCreateWithPriority",
                out -> CudaRuntime.cudaStreamCreateWithPriority(out, CudaRuntime.cudaStreamNonBlocking(), priority));
        return new CudaStream("CudaStream", address, device, true);
    }

    /**
     * {@return a stream of another owner, which must stay alive until this is closed; closing does not destroy it} If
     * that owner captures it, nccl4j does not know what the graph uses: capture with {@link #capture} instead.
     *
     * @param address address of the native object, not 0
     * @param device the device
     * @throws IllegalArgumentException for the legacy default stream, which cannot be captured and serialises the
     *     device
     */
    public static CudaStream wrap(long address, CudaDevice device) {
        if (address == 0 || address == LEGACY) {
            throw new IllegalArgumentException(
                    "the legacy default stream is not supported: use a stream of your own, or "
                            + "cudaStreamPerThread (address 2)");
        }
        return new CudaStream("CudaStream(wrapped)", address, device, false);
    }

    /**
     * Waits until all work enqueued so far is done, without a limit, {@code cudaStreamSynchronize}. From any thread; an
     * interrupt does not end it.
     *
     * @throws IllegalStateException after close, during a capture, or if a host function of the stream has thrown
     * @throws CudaException if the work or the device has failed
     */
    public void synchronize() {
        checkWait("CudaStream.synchronize", "synchronise after the replay");
        int status = belongsToCurrentThread()
                ? CudaRuntime.cudaStreamSynchronize(pointer())
                : Polling.uninterruptibly(activity::query, Deadline.NEVER, "work on " + label());
        throwHostFailure();
        device().check(status, "cudaStreamSynchronize");
    }

    /**
     * Waits until all work enqueued so far is done. From any thread.
     *
     * @param limit how long to wait at most
     * @throws WaitTimeoutException if it is not within {@code limit}
     * @throws CancellationException if the thread is interrupted while work is pending: at once, and its flag stays
     *     set. The work goes on
     * @throws IllegalStateException after close, during a capture, or if a host function of the stream has thrown
     * @throws CudaException if the work or the device has failed
     */
    public void await(Duration limit) {
        checkWait("CudaStream.await", "wait after the replay");
        finishWait(Polling.until(activity::query, Deadline.after(limit), "work on " + label()), limit);
    }

    /**
     * Like {@link #await}, but an interrupt does not end it, and the flag is set again afterwards: for steps that other
     * ranks depend on.
     *
     * @param limit how long to wait at most
     * @throws WaitTimeoutException if the work is not done within {@code limit}
     * @throws IllegalStateException after close, during a capture, or if a host function of the stream has thrown
     * @throws CudaException if the work or the device has failed
     */
    public void awaitUninterruptibly(Duration limit) {
        checkWait("CudaStream.awaitUninterruptibly", "wait after the replay");
        finishWait(Polling.uninterruptibly(activity::query, Deadline.after(limit), "work on " + label()), limit);
    }

    private void finishWait(int status, Duration limit) {
        if (status == CudaRuntime.cudaErrorNotReady()) {
            throw new WaitTimeoutException(
                    "work on " + this + " is still pending after " + Deadline.millis(limit) + " ms");
        }
        device().check(status, "cudaStreamQuery");
        throwHostFailure();
    }

    private void checkWait(String call, String instead) {
        CaptureScope.refuse(call, instead);
        address();
        checkNotReset(call);
        device().checkUsable();
    }

    /**
     * {@return whether all work enqueued so far is done, {@code cudaStreamQuery}} From any thread.
     *
     * @throws IllegalStateException after close, during a capture, or if a host function of the stream has thrown
     * @throws CudaException if the work has failed
     */
    public boolean isIdle() {
        CaptureScope.refuse("CudaStream.isIdle", "ask after the replay");
        address();
        checkNotReset("CudaStream.isIdle");
        int status = activity.query();
        if (status == CudaRuntime.cudaErrorNotReady()) {
            return false;
        }
        throwHostFailure();
        device().check(status, "cudaStreamQuery");
        return true;
    }

    /**
     * Work enqueued from now on waits for what the event marks, {@code cudaStreamWaitEvent}. If the event was recorded
     * in a capture, this stream joins that capture.
     *
     * @param event the event to wait for
     * @throws IllegalStateException if this or the event is closed or belongs to another thread
     * @throws CudaException if the device has failed
     */
    public void waitEvent(CudaEvent event) {
        checkThread("CudaStream.waitEvent");
        event.checkThread("CudaStream.waitEvent");
        CaptureScope of = event.recordedIn();
        boolean joins = of != null && of == CaptureScope.current() && scope == null;
        if (joins) {
            enterCapture(of);
        }
        int status = onDevice(() -> CudaRuntime.cudaStreamWaitEvent(pointer(), event.pointer(), 0));
        if (status != 0 && joins) {
            leaveCapture();
        }
        device().check(status, "cudaStreamWaitEvent");
        Ownership.of(this).waits(device().addWait());
        retain(event);
    }

    /**
     * Enqueues a Java function, {@code cudaLaunchHostFunc}: it runs on a thread of the CUDA runtime when the work
     * before it is done, at every replay if captured, and the work after it waits. It must not call CUDA, NCCL or
     * nccl4j, nor wait for anything that does. If it throws, the next {@link #synchronize()} or {@link #await} of this
     * stream throws that on.
     *
     * @param function runs on a thread of CUDA, and must not call CUDA
     * @throws IllegalStateException after close, or if this belongs to another thread
     * @throws CudaException if the device has failed
     */
    public void launchHostFunction(Runnable function) {
        checkThread("CudaStream.launchHostFunction");
        device().check(
                HostFunctions.launch(function, this, this::hostFailure, scope,
                        (stub, number) -> onDevice(() -> CudaRuntime.cudaLaunchHostFunc(pointer(), stub, number))),
                "cudaLaunchHostFunc");
        retain(this);
    }

    private void hostFailure(Throwable e) {
        hostFailure = e;
    }

    private void throwHostFailure() {
        Throwable e = hostFailure;
        if (e == null) {
            e = HostFunctions.takeUnassigned();
        }
        if (e != null) {
            hostFailure = null;
            throw new IllegalStateException("a host function on " + this + " threw " + e, e);
        }
    }

    /**
     * {@link #capture(CaptureMode, Runnable)} in {@link CaptureMode#RELAXED} mode.
     *
     * @param body the calls
     * @return the graph
     */
    public CudaGraph capture(Runnable body) {
        return capture(CaptureMode.RELAXED, body);
    }

    /**
     * Captures what {@code body} enqueues on this stream, and on streams that it forks from it by events and joins
     * again, {@code cudaStreamBeginCapture} to {@code cudaStreamEndCapture}. The capture ends whatever happens in the
     * body; if the body throws, there is no graph and the exception is passed on. The graph keeps everything that the
     * body uses from being closed.
     *
     * @param mode what is forbidden meanwhile
     * @param body runs once, now, on this thread
     * @return the graph
     * @throws IllegalStateException after close, during another capture of this thread, or if this belongs to another
     *     thread
     * @throws CudaException if the device has failed, or the capture was broken (by a stream that was not joined, for
     *     example)
     */
    public CudaGraph capture(CaptureMode mode, Runnable body) {
        checkThread("CudaStream.capture");
        if (mode != CaptureMode.RELAXED && Thread.currentThread().isVirtual()) {
            throw new IllegalStateException(
                    "CudaStream.capture in mode " + mode + " on a virtual thread, which may end it "
                            + "on another carrier: capture in RELAXED mode, or on a platform thread");
        }
        device().checkUsable();
        CaptureScope opened = CaptureScope.begin(mode == CaptureMode.GLOBAL);
        boolean begun = false;
        boolean done = false;
        try {
            enterCapture(opened);
            check("cudaStreamBeginCapture", () -> CudaRuntime.cudaStreamBeginCapture(pointer(), mode.code()));
            begun = true;
            opened.touch(this);
            body.run();
            opened.finish();
            long graph = endCapture();
            begun = false;
            CudaGraph result = graph(graph, opened);
            FlightRecording.lifecycle("capture", result);
            done = true;
            return result;
        } finally {
            if (begun) {
                endBrokenCapture();
            }
            opened.end();
            if (!done) {
                opened.release();
                opened.discard();
            }
        }
    }

    private CudaGraph graph(long address, CaptureScope captured) {
        try {
            return new CudaGraph(address, device(), captured);
        } catch (RuntimeException | Error e) {
            // Another thread has closed what the graph needs.
            CudaRuntime.cudaGraphDestroy(MemorySegment.ofAddress(address));
            throw e;
        }
    }

    private long endCapture() {
        return Out.ofAddress(
                out -> check("cudaStreamEndCapture", () -> CudaRuntime.cudaStreamEndCapture(pointer(), out)));
    }

    /** Leaves the stream not capturing after the body has thrown; what was recorded is dropped. */
    private void endBrokenCapture() {
        long graph = Out.ofAddress(out -> onDevice(() -> CudaRuntime.cudaStreamEndCapture(pointer(), out)));
        if (graph != 0) {
            CudaRuntime.cudaGraphDestroy(MemorySegment.ofAddress(graph));
        }
        CudaRuntime.cudaGetLastError();
    }

    private void enterCapture(CaptureScope capture) {
        activity.capturing(true);
        scope = capture;
        capture.whenEnded(this::leaveCapture);
    }

    private void leaveCapture() {
        scope = null;
        activity.capturing(false);
    }

    @Override
    void checkBind() {
        if (scope != null) {
            throw new IllegalStateException("bindToCurrentThread of " + label() + ": it is being captured");
        }
    }

    /** {@return whether work enqueued now is recorded into a graph by {@link #capture} instead of being run} */
    public boolean isCapturing() {
        return scope != null;
    }

    @Nullable
    CaptureScope scope() {
        return scope;
    }

    /**
     * If this stream is capturing, the graph keeps {@code resource} from being closed. Memory of another device waits
     * for this one's work, too, when it is closed. For callers whose own kernels use it; nccl4j's own calls do so by
     * themselves.
     *
     * @param resource the object
     */
    public void retain(NativeObject resource) {
        if (resource instanceof DeviceResource used && used.device() != device()) {
            used.usedOn(device());
        }
        CaptureScope current = scope;
        if (current != null) {
            current.touch(resource);
            current.touch(this);
        }
    }

    void copy(long target, long source, long bytes) {
        checkThread("a copy on a stream");
        if (bytes > 0) {
            MemorySegment to = MemorySegment.ofAddress(target);
            MemorySegment from = MemorySegment.ofAddress(source);
            check("cudaMemcpyAsync",
                    () -> CudaRuntime.cudaMemcpyAsync(to, from, bytes, CudaRuntime.cudaMemcpyDefault(), pointer()));
        }
    }

    void fill(long target, byte value, long bytes) {
        checkThread("a fill on a stream");
        MemorySegment to = MemorySegment.ofAddress(target);
        check("cudaMemsetAsync", () -> CudaRuntime.cudaMemsetAsync(to, value, bytes, pointer()));
    }

    /**
     * Waits for questions that other threads are asking. Where work of the device did not end in time, work of this
     * stream is not forgotten: what is closed next would wait for it without a limit.
     */
    @Override
    void released() {
        abandoned = isOwned() && device().isStalled() && activity.isPending();
        if (!abandoned) {
            activity.close();
            device().remove(activity);
        }
    }

    /** The runtime itself keeps a destroyed stream until its work is done. */
    @Override
    boolean awaitLastUse(Deadline deadline) {
        return !abandoned;
    }

    @Override
    void destroy(MemorySegment self) {
        device().check(CudaRuntime.cudaStreamDestroy(self), "cudaStreamDestroy");
    }
}
