package io.nccl4j.safety.hostile;

import org.jspecify.annotations.Nullable;

/** An event that must not happen in a hostile sequence. */
final class HostileFailure extends RuntimeException {
    private static final long serialVersionUID = 1L;

    HostileFailure(String message, @Nullable Throwable cause) {
        super(message, cause);
    }
}
