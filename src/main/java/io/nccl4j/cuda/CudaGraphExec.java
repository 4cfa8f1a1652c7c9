package io.nccl4j.cuda;

import io.nccl4j.NativeObject;
import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.FlightRecording;
import io.nccl4j.internal.HotCalls;
import java.lang.foreign.MemorySegment;

/**
 * An executable graph, {@code cudaGraphExec_t}: launched as a whole, with one native call. Keeps everything that its
 * work uses from being closed. Launches of one executable run one after the other.
 *
 * <p>Belongs to one thread, at first the one that made it; {@link #bindToCurrentThread} moves it.
 */
public final class CudaGraphExec extends ConfinedResource {
    private final CaptureScope captured;

    CudaGraphExec(long address, CudaDevice device, CaptureScope captured) {
        super("CudaGraphExec", address, device, true, captured.touched().toArray(NativeObject[]::new));
        this.captured = captured;
        captured.use();
        HotCalls.linkGraph();
    }

    /**
     * Enqueues the whole graph, {@code cudaGraphLaunch}. Allocates nothing. CUDA cannot capture a launch.
     *
     * @param stream the stream that the work is enqueued on
     * @throws IllegalStateException if the stream is capturing, if this or the stream is closed or belongs to another
     *     thread, or if something that the graph points to has moved since the capture
     * @throws CudaException if the device has failed
     */
    public void launch(CudaStream stream) {
        checkThread("CudaGraphExec.launch");
        stream.checkThread("CudaGraphExec.launch");
        if (stream.isCapturing()) {
            throw capturing(stream);
        }
        captured.launching(stream);
        FlightRecording.Call event = FlightRecording.call();
        int status = Thread.currentThread().isVirtual()
                ? device().call(() -> HotCalls.launchGraph(address(), stream.address()))
                : HotCalls.launchGraph(address(), stream.address());
        if (event != null) {
            event.commit("cudaGraphLaunch", label(), false);
        }
        if (status != 0) {
            throw launchFailed(status);
        }
        captured.launched();
        stream.retain(this);
    }

    private IllegalStateException capturing(CudaStream stream) {
        return new IllegalStateException(this + " cannot be launched on " + stream
                + ", which is capturing: CUDA does not capture graph launches. Capture the work itself instead");
    }

    private CudaException launchFailed(int status) {
        device().checkUsable();
        return device().failed(status, "cudaGraphLaunch");
    }

    /**
     * Uploads it, so that the first launch does not pay for that, {@code cudaGraphUpload}.
     *
     * @param stream the stream that the work is enqueued on
     * @throws IllegalStateException during a capture, or if this or the stream is closed or belongs to another thread
     * @throws CudaException if the device has failed
     */
    public void upload(CudaStream stream) {
        CaptureScope.refuse("CudaGraphExec.upload", "upload after the capture");
        checkThread("CudaGraphExec.upload");
        stream.checkThread("CudaGraphExec.upload");
        check("cudaGraphUpload", () -> CudaRuntime.cudaGraphUpload(pointer(), stream.pointer()));
    }

    @Override
    void destroy(MemorySegment self) {
        device().check(CudaRuntime.cudaGraphExecDestroy(self), "cudaGraphExecDestroy");
        captured.release();
    }
}
