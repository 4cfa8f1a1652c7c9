package io.nccl4j.ep;

import io.nccl4j.internal.CaptureScope;
import java.util.LinkedHashSet;
import java.util.Set;

/**
 * The RDMA buffer of a low-latency group: of a fixed size, or growing with its handles. Growth moves it, so that the
 * graphs captured before point to memory that is gone.
 */
final class RdmaBuffer {
    private final boolean growing;
    private final EpSizing sizing;
    private final Set<CaptureScope> captures = new LinkedHashSet<>();
    private long bytes;

    RdmaBuffer(GroupShape config, EpSizing sizing) {
        this.growing = config.isGrowing();
        this.sizing = sizing;
        this.bytes = explicitBytes(config, sizing);
    }

    /** The size that the group is created with; 0 leaves it to the library. */
    static long explicitBytes(GroupShape config, EpSizing sizing) {
        if (config.isGrowing()) {
            return 0;
        }
        long needed = sizing.rdmaBufferBytes();
        Rule.LL_BUFFER.refuseIf(config.rdmaBufferBytes() != 0 && config.rdmaBufferBytes() < needed,
                "rdmaBufferBytes is %d: layout %s with topK %d needs %d", config.rdmaBufferBytes(), config.layout(),
                config.topK(), needed);
        return config.rdmaBufferBytes() > 0 ? config.rdmaBufferBytes() : needed;
    }

    /** Whether the library has to make it, or a larger one, for a handle. */
    boolean mustGrow(HandleShape shape) {
        return growing && sizing.rdmaBufferBytes(shape.layout(), shape.topK()) > bytes;
    }

    /** Bytes by which it must grow for a handle: the present one is freed first. */
    long growth(HandleShape shape) {
        return sizing.rdmaBufferBytes(shape.layout(), shape.topK()) - bytes;
    }

    /** The library has grown it. */
    void grew(HandleShape shape) {
        bytes = sizing.rdmaBufferBytes(shape.layout(), shape.topK());
        synchronized (captures) {
            captures.forEach(capture -> capture.invalidate(
                    "the RDMA buffer of its EP group was replaced by one of " + bytes + " bytes; capture again"));
            captures.clear();
        }
    }

    boolean exists() {
        return bytes > 0;
    }

    /** An operation was captured. */
    void usedIn(CaptureScope capture) {
        if (!growing) {
            return;
        }
        synchronized (captures) {
            if (captures.add(capture)) {
                capture.whenReleased(() -> {
                    synchronized (captures) {
                        captures.remove(capture);
                    }
                });
            }
        }
    }
}
