package io.nccl4j.nccl;

import io.nccl4j.NativeLibraries;
import io.nccl4j.bindings.nccl.Nccl;
import java.util.LinkedHashSet;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** Grouped calls of this thread, {@code ncclGroupStart} and {@code ncclGroupEnd}; groups nest. */
final class NcclGroup {
    private static final ThreadLocal<@Nullable NcclGroup> CURRENT = new ThreadLocal<>();

    private final Set<Communicator> pending = new LinkedHashSet<>();

    private NcclGroup() {
    }

    static void run(Runnable body) {
        if (CURRENT.get() != null) {
            // The outermost group is the one that counts.
            body.run();
            return;
        }
        NativeLibraries.load();
        check(Nccl.ncclGroupStart(), "ncclGroupStart");
        NcclGroup group = new NcclGroup();
        CURRENT.set(group);
        Throwable failure = null;
        try {
            body.run();
        } catch (RuntimeException | Error e) {
            failure = e;
            throw e;
        } finally {
            CURRENT.remove();
            group.end(failure);
        }
    }

    /** Starts what was collected, also after an exception: NCCL knows no way to drop it. */
    private void end(@Nullable Throwable failure) {
        try {
            int status = Nccl.ncclGroupEnd();
            if (status != Nccl.ncclInProgress()) {
                check(status, "ncclGroupEnd");
            }
            for (Communicator communicator : pending) {
                communicator.awaitReady(communicator.limit());
            }
        } catch (RuntimeException e) {
            if (failure == null) {
                throw e;
            }
            failure.addSuppressed(e);
        }
    }

    private static void check(int status, String function) {
        if (status != 0) {
            throw NcclException.of(function, status, function);
        }
    }

    /** Whether this thread is in a group; then the communicator is waited for at its end. */
    static boolean defer(Communicator communicator) {
        NcclGroup group = CURRENT.get();
        if (group == null) {
            return false;
        }
        group.pending.add(communicator);
        return true;
    }

    /** Refuses a call that is made on another thread, where the group would not see it. */
    static void refuse(String call) {
        if (CURRENT.get() != null) {
            throw new IllegalStateException(call + " cannot be part of a group: call it outside of Communicator.group");
        }
    }
}
