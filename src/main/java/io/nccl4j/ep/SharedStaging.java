package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.DeviceChanges;
import io.nccl4j.internal.Ownership;
import org.jspecify.annotations.Nullable;

/**
 * The staging memory that all handles of a high-throughput group over several LSA teams share. Two operations on
 * streams that nothing orders would overwrite each other's rows there without an error, so each must come after the
 * last one: on its stream, on one that has waited for an event meanwhile, or when its stream is done.
 */
final class SharedStaging {
    /** The last operation of those that run at once, or of those in a capture. */
    private static final class Turn {
        private @Nullable Object handle;
        private @Nullable CudaStream stream;
        /** Waits of all streams of the device until then. */
        private long waits;
    }

    private final String teams;
    private final Turn enqueued = new Turn();
    private Turn captured = new Turn();
    private @Nullable CaptureScope capture;

    /** @param teams for messages */
    private SharedStaging(String teams) {
        this.teams = teams;
    }

    /** Null for a group whose staging needs no order: of one team, or of low latency, which has a send half at most. */
    static @Nullable SharedStaging of(GroupShape group) {
        return group.isLowLatency() || !group.hasSeveralTeams() ? null : new SharedStaging(group.teamsText());
    }

    /** A dispatch or combine of {@code handle} is about to be enqueued on, or captured from, the stream. */
    void use(Object handle, CudaStream stream) {
        CaptureScope scope = stream.isCapturing() ? CaptureScope.current() : null;
        if (scope == null) {
            next(enqueued, handle, stream);
            return;
        }
        if (scope != capture) {
            capture = scope;
            captured = new Turn();
            // All of the graph runs where it is launched.
            scope.whenLaunching(on -> next(enqueued, handle, (CudaStream) on));
        }
        next(captured, handle, stream);
    }

    private void next(Turn last, Object handle, CudaStream stream) {
        CudaStream before = last.stream;
        if (before != stream && before != null) {
            Rule.SHARED_STAGING.refuseIf(!follows(stream, before, last.waits),
                    "%s on %s while work of %s on %s may be in flight: handles of a high-throughput group over %s "
                            + "share staging memory; use one stream, or let the one wait for an event that is recorded "
                            + "on the other",
                    handle, stream, last.handle, before, teams);
        }
        last.handle = handle;
        last.stream = stream;
        last.waits = DeviceChanges.of(stream.device().ordinal()).waits();
    }

    /** Whether work enqueued on {@code stream} now comes after that on the other. */
    private static boolean follows(CudaStream stream, CudaStream before, long waits) {
        return Ownership.of(stream).lastWait() > waits || before.isClosed()
                || !CaptureScope.isOpen() && !before.isCapturing() && before.isIdle();
    }
}
