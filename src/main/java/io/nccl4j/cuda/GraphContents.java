package io.nccl4j.cuda;

import io.nccl4j.NativeObject;
import io.nccl4j.internal.CaptureScope;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** What a captured graph and the executables made from it need for as long as the last of them lives. */
final class GraphContents {
    private final CaptureScope scope;
    private int users;

    GraphContents(CaptureScope scope) {
        this.scope = scope;
    }

    /** Streams that took part leave the capture. */
    void endCapture(CudaStream origin) {
        origin.leaveCapture();
        for (NativeObject resource : scope.touched()) {
            if (resource instanceof CudaStream stream) {
                stream.leaveCapture();
            }
        }
    }

    /** Everything the work in the graph uses. */
    Set<NativeObject> resources() {
        return scope.touched();
    }

    /** Throws if something happened since the capture after which the graph must not run. */
    void checkValid() {
        @Nullable
        String reason = scope.invalidated();
        if (reason != null) {
            throw new IllegalStateException("the graph can no longer be launched: " + reason);
        }
        scope.launching();
    }

    void launched() {
        scope.launched();
    }

    /** Whether the graph may be launched again without a look as long as nothing has changed. */
    boolean isSteady() {
        return !scope.looksAtEachLaunch();
    }

    synchronized void use() {
        users++;
    }

    /** One user less; with the last one the host functions end. */
    void release() {
        synchronized (this) {
            users--;
            if (users > 0) {
                return;
            }
        }
        scope.release();
    }
}
