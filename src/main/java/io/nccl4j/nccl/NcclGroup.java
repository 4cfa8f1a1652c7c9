package io.nccl4j.nccl;

import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.internal.LibraryLoader;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Calls of this thread that become one operation, {@code ncclGroupStart} to {@code ncclGroupEnd}; groups nest. They are
 * collected here and made when the outermost group ends: NCCL knows no way to drop what it has collected, so that after
 * an exception half of them would wait for ever for their other half.
 */
final class NcclGroup {
    /** A collected call: what must still hold when it is made, and how it is made. */
    private record Member(Runnable check, Runnable call) {
    }

    private static final ThreadLocal<@Nullable NcclGroup> CURRENT = new ThreadLocal<>();

    private final List<Member> members = new ArrayList<>();

    private NcclGroup() {
    }

    static void run(Runnable body) {
        if (CURRENT.get() != null) {
            // The outermost group is the one that counts.
            body.run();
            return;
        }
        if (Thread.currentThread().isVirtual()) {
            throw new IllegalStateException(
                    "Communicator.group on a virtual thread: NCCL keeps the group in its carrier, "
                            + "which other threads use as well; call it on a platform thread");
        }
        LibraryLoader.loadNccl();
        NcclGroup group = new NcclGroup();
        CURRENT.set(group);
        try {
            body.run();
            group.make();
        } finally {
            CURRENT.remove();
        }
    }

    private void make() {
        members.forEach(member -> member.check.run());
        if (members.isEmpty()) {
            return;
        }
        NcclException.check("ncclGroupStart", Nccl.ncclGroupStart(), null);
        Throwable failure = null;
        try {
            members.forEach(member -> member.call.run());
        } catch (RuntimeException | Error e) {
            failure = e;
            throw e;
        } finally {
            end(failure);
        }
    }

    private void end(@Nullable Throwable failure) {
        try {
            NcclException.check("ncclGroupEnd", Nccl.ncclGroupEnd(), null);
        } catch (RuntimeException e) {
            if (failure == null) {
                throw e;
            }
            failure.addSuppressed(e);
        }
    }

    /**
     * Makes a call now or, if this thread is in a group, at its end, provided that {@code check} passes once more then.
     */
    static void add(Runnable check, Runnable call) {
        NcclGroup group = CURRENT.get();
        check.run();
        if (group == null) {
            call.run();
        } else {
            group.members.add(new Member(check, call));
        }
    }

    /** Refuses a call that cannot be made later. */
    static void refuse(String call) {
        if (CURRENT.get() != null) {
            throw new IllegalStateException(call + " cannot be part of a group: call it outside of Communicator.group");
        }
    }
}
