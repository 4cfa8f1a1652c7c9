package io.nccl4j.cuda;

import io.nccl4j.NativeObject;
import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.bindings.cudart.cudaGraphExecUpdateResultInfo_st;
import io.nccl4j.internal.CallEvent;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.FlightRecording;
import io.nccl4j.internal.LaunchCalls;
import io.nccl4j.internal.Ownership;
import io.nccl4j.internal.StateChanges;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * An executable graph, {@code cudaGraphExec_t}: launched as a whole, with one native call. Keeps everything that its work uses
 * from being closed. Launches of one executable run one after the other.
 */
public final class CudaGraphExec extends DeviceResource {
    private final StateChanges.Observer observer = new StateChanges.Observer() {
        @Override
        protected void stateChanged() {
            steady = null;
        }
    };
    private GraphContents contents;
    private final List<SupersededContents> superseded = new ArrayList<>();
    /** Where the last launch was, which can be repeated without a look as long as nothing has changed. */
    private @Nullable CudaStream steady;

    CudaGraphExec(long address, CudaDevice device, GraphContents contents) {
        super("CudaGraphExec", address, device, true, contents.resources().toArray(NativeObject[]::new));
        this.contents = contents;
        contents.use();
        LaunchCalls.linkGraph();
    }

    /**
     * Enqueues the whole graph, {@code cudaGraphLaunch}. Allocates nothing. CUDA cannot capture a launch.
     *
     * @throws IllegalStateException if the stream is capturing
     */
    public void launch(CudaStream stream) {
        if (stream != steady) {
            checkAndLaunch(stream);
            return;
        }
        int status = LaunchCalls.graph(address(), stream.address());
        if (status != 0) {
            throw launchFailed(status);
        }
    }

    private void checkAndLaunch(CudaStream stream) {
        int before = StateChanges.count();
        if (stream.isCapturing()) {
            throw capturing(stream);
        }
        contents.checkValid();
        CallEvent event = FlightRecording.isOn() ? CallEvent.started() : null;
        int status = LaunchCalls.graph(address(), stream.address());
        if (event != null) {
            event.commit("cudaGraphLaunch", label(), false);
        }
        if (status != 0) {
            throw launchFailed(status);
        }
        contents.launched();
        FlightRecording.watch();
        if (event == null && contents.isSteady()) {
            steady = stream;
            StateChanges.tellNext(observer, before);
        }
    }

    private IllegalStateException capturing(CudaStream stream) {
        return new IllegalStateException(this + " cannot be launched on " + stream
                + ", which is capturing: CUDA does not capture graph launches. Capture the work itself instead");
    }

    private CudaException launchFailed(int status) {
        device().checkUsable();
        return device().failed(status, "cudaGraphLaunch");
    }

    /** Uploads it, so that the first launch does not pay for that, {@code cudaGraphUpload}. */
    public void upload(CudaStream stream) {
        CaptureScope.refuse("CudaGraphExec.upload", "upload after the capture");
        device().check(CudaRuntime.cudaGraphUpload(segment(), stream.segment()), "cudaGraphUpload");
    }

    /**
     * Takes over the parameters of another graph of the same topology, {@code cudaGraphExecUpdate}. Cheaper than instantiating
     * anew. Launches made before do what they did. What the earlier graph used cannot be closed before this.
     *
     * @throws IllegalArgumentException if the topology differs; this executable stays as it was
     */
    public void update(CudaGraph graph) {
        CaptureScope.refuse("CudaGraphExec.update", "update after the capture");
        MemorySegment self = segment();
        MemorySegment other = graph.segment();
        steady = null;
        endSuperseded();
        SupersededContents earlier = new SupersededContents(contents, device());
        boolean updated = false;
        try {
            replace(self, other, graph);
            updated = true;
        } finally {
            if (!updated) {
                earlier.closeMarks();
            }
        }
        graph.contents().resources().forEach(Ownership.of(this)::hold);
        graph.contents().use();
        superseded.add(earlier);
        contents = graph.contents();
    }

    private void replace(MemorySegment self, MemorySegment other, CudaGraph graph) {
        int status;
        int result;
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment info = cudaGraphExecUpdateResultInfo_st.allocate(arena);
            status = CudaRuntime.cudaGraphExecUpdate(self, other, info);
            result = cudaGraphExecUpdateResultInfo_st.result(info);
        }
        if (status == CudaRuntime.cudaErrorGraphExecUpdateFailure()) {
            CudaRuntime.cudaGetLastError();
            throw new IllegalArgumentException(graph + " cannot replace the work of " + this
                    + ": its topology differs (cudaGraphExecUpdateResult " + result + ")");
        }
        device().check(status, "cudaGraphExecUpdate");
    }

    private void endSuperseded() {
        for (int i = superseded.size() - 1; i >= 0; i--) {
            SupersededContents earlier = superseded.get(i);
            if (earlier.isOver()) {
                superseded.remove(i);
                earlier.closeMarks();
                earlier.release();
            }
        }
    }

    MemorySegment segment() {
        return MemorySegment.ofAddress(address());
    }

    @Override
    void released() {
        superseded.forEach(SupersededContents::closeMarks);
    }

    @Override
    void destroy(long address) {
        device().check(CudaRuntime.cudaGraphExecDestroy(MemorySegment.ofAddress(address)), "cudaGraphExecDestroy");
        contents.release();
        superseded.forEach(SupersededContents::release);
    }
}
