package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.internal.CaptureScope;
import org.jspecify.annotations.Nullable;

/**
 * Whether the last call of something that writes a handle's state on the device has run, or will have run, before what is enqueued
 * next. What was captured has not until its graph is launched, but will have for what is captured after it: in the same graph, or in
 * one that may not be launched before.
 */
final class Executed {
    private boolean done;
    private @Nullable CaptureScope captured;

    /** It was enqueued on, or captured from, the stream. */
    void enqueued(CudaStream stream) {
        CaptureScope capture = stream.isCapturing() ? CaptureScope.current() : null;
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
        return done || captured(stream);
    }

    private boolean captured(CudaStream stream) {
        CaptureScope capture = captured;
        if (capture == null) {
            return false;
        }
        done = capture.wasLaunched();
        return done || stream.isCapturing();
    }

    /** The capture whose graph must be launched before one that is captured now; null if none must. */
    @Nullable
    CaptureScope isDue() {
        CaptureScope capture = captured;
        return capture == null || capture == CaptureScope.current() || capture.wasLaunched() ? null : capture;
    }
}
