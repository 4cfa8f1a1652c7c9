package io.nccl4j.nccl;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.internal.BoundedCall;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.DeviceChanges;
import io.nccl4j.internal.Out;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Whether a communicator still works, and which calls that wait for other ranks are under way on it. Thread-safe: such
 * calls run on threads of their own, and an abort may come from any.
 */
final class CommunicatorState {
    /** A call that has not returned; told from others of its name by identity. */
    private static final class UnderWay {
        private final String call;

        UnderWay(String call) {
            this.call = call;
        }

        @Override
        public String toString() {
            return call;
        }
    }

    private static final Logger LOG = LoggerFactory.getLogger("io.nccl4j.nccl.Communicator");

    private final CudaDevice device;
    private final int generation;
    private final DeviceChanges changes;
    private final List<UnderWay> underWay = new ArrayList<>();
    private volatile @Nullable NcclException failure;
    private volatile @Nullable String abandoned;
    private volatile @Nullable String stuck;

    CommunicatorState(CudaDevice device) {
        this.device = device;
        this.generation = device.generation();
        this.changes = DeviceChanges.of(device.ordinal());
    }

    /** Why nothing native must happen to it and to what belongs to it any more; null if it may. */
    @Nullable
    String lost() {
        if (abandoned != null) {
            return abandoned;
        }
        NcclException first = failure;
        if (first != null) {
            return "it has failed: " + first.getMessage();
        }
        String pending = stuck;
        return pending != null ? pending : deviceLost();
    }

    /** The failure or reset of the device, after which no native call makes sense; null if there was none. */
    @Nullable
    String deviceLost() {
        if (device.failure() != null) {
            return device + " has failed";
        }
        return generation != device.generation() ? device + " was reset" : null;
    }

    /** Takes part in nothing any more. */
    synchronized void abandon(String reason) {
        if (abandoned == null) {
            abandoned = reason;
            changes.add();
        }
    }

    /** The same, if no call is under way that an abort would turn into the end of the process. */
    synchronized void abandonForAbort(Object communicator) {
        if (!underWay.isEmpty()) {
            throw new IllegalStateException(communicator + " cannot be aborted while " + underWay
                    + " is under way: NCCL EP would end the process");
        }
        abandon("it was aborted");
    }

    boolean isAbandoned() {
        return abandoned != null;
    }

    void check(Object communicator) {
        device.checkUsable();
        NcclException first = failure;
        if (first != null) {
            throw NcclException.after(first, communicator);
        }
        String reason = lost();
        if (reason != null) {
            throw new IllegalStateException(communicator + " cannot be used: " + reason);
        }
    }

    /** Remembers the first failure. */
    synchronized void fail(NcclException e, Object communicator) {
        if (failure == null) {
            LOG.error("{} is lost: {}", communicator, e.getMessage());
            failure = e;
            changes.add();
        }
    }

    /**
     * Makes a native call that waits for other ranks. An abort is refused until it has really returned; if that takes
     * too long, the communicator is lost.
     *
     * @param hopeless why it cannot return any more, or null
     */
    <T extends @Nullable Object> T callCollectively(String call, Object communicator, Duration limit, Supplier<T> body,
            Supplier<@Nullable String> hopeless) {
        UnderWay mark = new UnderWay(call);
        synchronized (this) {
            underWay.add(mark);
        }
        boolean ended = true;
        try {
            return BoundedCall.run(call + " on " + communicator, Deadline.after(limit), () -> {
                try {
                    return device.call(body);
                } finally {
                    leave(mark);
                }
            }, hopeless);
        } catch (WaitTimeoutException e) {
            ended = false;
            // It may be at work in there at any time from now on, so nothing else must be.
            stuck = call + " has not returned in time";
            changes.add();
            throw e;
        } finally {
            if (ended) {
                // Also if its thread could not be started.
                leave(mark);
            }
        }
    }

    private synchronized void leave(UnderWay mark) {
        underWay.remove(mark);
    }

    /** The state that NCCL reports, {@code ncclCommGetAsyncError}. */
    static int asyncError(MemorySegment communicator, Object name) {
        return Out.ofInt(out -> NcclException.check("ncclCommGetAsyncError",
                Nccl.ncclCommGetAsyncError(communicator, out), name));
    }

    /** Destroys it together with the other ranks; says why if it has failed, or if they do not come. */
    @Nullable
    String destroy(MemorySegment communicator, Object name, Deadline deadline, Supplier<@Nullable String> hopeless) {
        NcclResult result = NcclResult.of(asyncError(communicator, name));
        if (result == null || result.isError()) {
            return "it has failed in the background with " + result;
        }
        try {
            callCollectively("ncclCommDestroy", name, deadline.remaining(), () -> {
                NcclException.check("ncclCommDestroy", Nccl.ncclCommDestroy(communicator), name);
                return name;
            }, hopeless);
            return null;
        } catch (WaitTimeoutException e) {
            return e.getMessage();
        }
    }
}
