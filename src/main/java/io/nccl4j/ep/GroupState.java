package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.internal.CaptureScope;
import org.jspecify.annotations.Nullable;

/**
 * The state that the handles of a group share: the send half that is pending among them, of which there can be one,
 * since buffers alternate with every operation and the device traps if another begins; and a count of changes that
 * launches of graphs must look at.
 */
final class GroupState {
    private final @Nullable SharedStaging staging;
    private @Nullable Object handle;
    private @Nullable CudaStream stream;
    private @Nullable EpStruct inputs;
    private @Nullable EpStruct outputs;
    private @Nullable LayoutInfo info;
    private @Nullable CaptureScope scope;
    private int changes;

    GroupState(@Nullable SharedStaging staging) {
        this.staging = staging;
    }

    /** The staging memory that dispatches and combines share; null where they may run at once. */
    @Nullable
    SharedStaging staging() {
        return staging;
    }

    /** Changes so far. */
    int changes() {
        return changes;
    }

    /** Graphs of the group look again at their next launch. */
    void change() {
        changes++;
    }

    boolean isPending() {
        return handle != null;
    }

    boolean isPendingOf(Object other) {
        return handle == other;
    }

    /** The stream of the send half, which the other half runs on as well. */
    @Nullable
    CudaStream stream() {
        return stream;
    }

    void begin(Object owner, CudaStream on, EpStruct in, EpStruct out, @Nullable LayoutInfo layoutInfo) {
        handle = owner;
        stream = on;
        inputs = in;
        outputs = out;
        info = layoutInfo;
        changes++;
        CaptureScope capture = on.isCapturing() ? CaptureScope.current() : null;
        scope = capture;
        if (capture != null) {
            capture.whenEnding(() -> Rule.SEND_CAPTURE.refuseIf(scope == capture,
                    "%s has captured a send half: complete it in the same capture", owner));
            // Of a capture that fails nothing is ever sent.
            capture.whenDiscarded(() -> {
                if (scope == capture) {
                    end();
                }
            });
        }
    }

    void end() {
        handle = null;
        stream = null;
        inputs = null;
        outputs = null;
        info = null;
        scope = null;
        changes++;
    }

    /** The library reads the descriptors of the send half again. */
    void checkComplete() {
        CaptureScope now = stream != null && stream.isCapturing() ? CaptureScope.current() : null;
        if (now != scope || isLost()) {
            Rule.SEND_CAPTURE.refuseIf(now != scope, "complete %s a capture, but its send half was %s it",
                    now == null ? "outside of" : "in", now == null ? "captured in" : "made outside of");
            Rule.SEND_PENDING.refuseIf(isLost(),
                    "%s cannot be completed: memory of its send half was closed; close the group", handle);
        }
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
