package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.StateChanges;
import org.jspecify.annotations.Nullable;

/**
 * The send half that is pending in a low-latency group: there can be one, of all its handles, since buffers alternate with every
 * operation and the device traps if another begins.
 */
final class SendState {
    private @Nullable EpHandle handle;
    private @Nullable CudaStream stream;
    private @Nullable NativeStruct inputs;
    private @Nullable NativeStruct outputs;
    private @Nullable LayoutInfo info;
    private @Nullable CaptureScope scope;

    boolean isPending() {
        return handle != null;
    }

    boolean isPendingOf(EpHandle other) {
        return handle == other;
    }

    /** The stream that the other half runs on as well. */
    @Nullable
    CudaStream stream() {
        return stream;
    }

    void begin(EpHandle owner, CudaStream on, NativeStruct in, NativeStruct out, @Nullable LayoutInfo layoutInfo) {
        handle = owner;
        owner.group().forgetCalls();
        stream = on;
        inputs = in;
        outputs = out;
        info = layoutInfo;
        if (on.isCapturing()) {
            beginInCapture(owner);
        } else if (owner.group().hasGraphs()) {
            // They must not be launched now.
            StateChanges.add();
        }
    }

    private void beginInCapture(EpHandle owner) {
        CaptureScope capture = CaptureScope.current();
        if (capture == null) {
            return;
        }
        scope = capture;
        capture.whenEnding(() -> Rule.SEND_CAPTURE.require(scope != capture,
                "%s has captured a send half: complete it in the same capture", owner));
        // Of a capture that fails nothing is ever sent.
        capture.whenDiscarded(() -> {
            if (scope == capture) {
                end();
            }
        });
    }

    void end() {
        handle = null;
        stream = null;
        inputs = null;
        outputs = null;
        info = null;
        scope = null;
    }

    /** The library reads the descriptors of the send half again. */
    void checkComplete() {
        CudaStream on = stream;
        CaptureScope now = on != null && on.isCapturing() ? CaptureScope.current() : null;
        if (now != scope || isLost()) {
            refuseComplete(now);
        }
    }

    private void refuseComplete(@Nullable CaptureScope now) {
        Rule.SEND_CAPTURE.require(now == scope, "complete %s a capture, but its send half was %s it",
                now == null ? "outside of" : "in",
                now == null ? "captured in" : "made outside of");
        Rule.SEND_PENDING.require(!isLost(),
                "%s cannot be completed: memory of its send half was closed; close the group", handle);
    }

    /** Whether the other half can never be done any more, because memory that it needs was closed. */
    boolean isLost() {
        return inputs != null && inputs.isClosed() || outputs != null && outputs.isClosed()
                || info != null && info.isClosed();
    }

    @Override
    public String toString() {
        return handle == null ? "none" : "of " + handle;
    }
}
