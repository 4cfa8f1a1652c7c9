package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.internal.CaptureScope;
import org.jspecify.annotations.Nullable;

/**
 * Whether the last call of a kind has run, or will have run, before work that is enqueued next. A captured call has not
 * until its graph is launched; but for work that is captured after it, in the same graph or in one that may not be
 * launched before, it will have.
 */
final class LastCall {
    private boolean done;
    private @Nullable CaptureScope captured;

    /** It was enqueued on, or captured from, the stream. */
    void enqueued(CudaStream stream) {
        if (stream.isCapturing()) {
            captured(CaptureScope.current());
        } else if (!done || captured != null) {
            captured = null;
            done = true;
        }
    }

    private void captured(@Nullable CaptureScope capture) {
        captured = capture;
        done = capture == null;
        if (capture != null) {
            capture.whenDiscarded(() -> {
                if (captured == capture) {
                    captured = null;
                }
            });
        }
    }

    /** Whether work enqueued now finds it done. */
    boolean isBefore(CudaStream stream) {
        if (!done && captured != null) {
            done = captured.wasLaunched();
            return done || stream.isCapturing();
        }
        return done;
    }

    /** The capture whose graph must be launched before one that is captured now; null if none must. */
    @Nullable
    CaptureScope due() {
        CaptureScope capture = captured;
        return capture == null || capture == CaptureScope.current() || capture.wasLaunched() ? null : capture;
    }
}
