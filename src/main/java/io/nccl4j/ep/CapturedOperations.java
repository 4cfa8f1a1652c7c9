package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.internal.CaptureScope;
import org.jspecify.annotations.Nullable;

/** What a handle tells a capture: what the graph must keep alive, and on 0.1.0 how many operations it holds. */
final class CapturedOperations {
    private final EpHandle handle;
    private final HandleShape shape;
    private @Nullable CaptureScope counting;
    private int count;

    CapturedOperations(EpHandle handle, HandleShape shape) {
        this.handle = handle;
        this.shape = shape;
    }

    void update(CudaStream stream, EpTensor routing, @Nullable LayoutInfo info) {
        stream.retain(handle);
        stream.retain(routing.resource());
        if (info != null) {
            info.retain(stream);
        }
    }

    void operation(CudaStream stream, @Nullable EpTensor routing, NativeStruct inputs, NativeStruct outputs,
            @Nullable LayoutInfo info) {
        stream.retain(handle);
        if (routing != null && shape.isLowLatency()) {
            // Its contents are read at every replay.
            stream.retain(routing.resource());
        }
        inputs.retain(stream);
        outputs.retain(stream);
        if (info != null) {
            info.retain(stream);
        }
        CaptureScope capture = CaptureScope.current();
        if (capture != null) {
            handle.group().rdmaBuffer().usedIn(capture);
            if (shape.isLowLatency() && !shape.isV2()) {
                countParity(capture);
            }
        }
    }

    /** 0.1.0 fixes at capture which of two buffers an operation uses, so a replay must end where it began. */
    private void countParity(CaptureScope capture) {
        if (capture != counting) {
            counting = capture;
            count = 0;
            capture.whenEnding(() -> Rule.V1_CAPTURE_PARITY.require(count % 2 == 0,
                    "the capture holds %d operations of %s: NCCL EP 0.1.0 can only replay an even number, as dispatch and combine",
                    count,
                    handle));
        }
        count++;
    }
}
