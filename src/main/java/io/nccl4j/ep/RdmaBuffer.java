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
    private final Set<CaptureScope> captures = new LinkedHashSet<>();
    private long bytes;

    RdmaBuffer(GroupShape group) {
        this.growing = group.config().isGrowing();
        this.bytes = explicitBytes(group);
    }

    /** The size that the group is created with; 0 leaves it to the library. */
    static long explicitBytes(GroupShape group) {
        EpGroupConfig config = group.config();
        if (config.isGrowing()) {
            return 0;
        }
        long needed = bytes(group);
        Rule.LL_BUFFER.refuseIf(config.rdmaBufferBytes() != 0 && config.rdmaBufferBytes() < needed,
                "rdmaBufferBytes is %d: layout %s with topK %d needs %d", config.rdmaBufferBytes(), config.layout(),
                config.topK(), needed);
        return config.rdmaBufferBytes() > 0 ? config.rdmaBufferBytes() : needed;
    }

    /** For the shape that the configuration names; 0 if it names none, and for high throughput. */
    static long bytes(GroupShape group) {
        EpGroupConfig config = group.config();
        Layout layout = config.layout();
        return group.isLowLatency() && layout != null ? LowLatencyRegions.of(group, layout, config.topK()).bytes() : 0;
    }

    private static long bytes(HandleShape handle) {
        return LowLatencyRegions.of(handle.group(), handle.layout(), handle.topK()).bytes();
    }

    /** Whether the library has to make it, or a larger one, for a handle. */
    boolean mustGrow(HandleShape shape) {
        return growing && bytes(shape) > bytes;
    }

    /** Bytes by which it must grow for a handle: the present one is freed first. */
    long growth(HandleShape shape) {
        return bytes(shape) - bytes;
    }

    /** The library has grown it. */
    void grew(HandleShape shape) {
        bytes = bytes(shape);
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
