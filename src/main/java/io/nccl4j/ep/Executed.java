package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.internal.CaptureScope;
import org.jspecify.annotations.Nullable;

/**
 * Whether the last call of something that writes a handle's state on the device has run, or will have run, before what is enqueued
 * next. What was captured has not until its graph is launched, but has for the rest of the same capture.
 */
final class Executed {
    private boolean done;
    private @Nullable CaptureScope captured;

    /** It was enqueued on, or captured from, the stream. */
    void enqueued(CudaStream stream) {
        captured = stream.isCapturing() ? CaptureScope.current() : null;
        done = captured == null;
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
        return done || stream.isCapturing() && capture == CaptureScope.current();
    }
}
