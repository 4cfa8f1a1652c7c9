package io.nccl4j.internal;

import io.nccl4j.NativeObject;
import java.lang.ref.Cleaner;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The internal side of a {@link NativeObject}: its place in the ownership tree and the way in which it is closed.
 * {@link #of} is the only access to it, so that public classes show none of this.
 */
public final class Ownership {
    /** The way from an object to its internal side; implemented once, by {@link NativeObject} itself. */
    public interface Access {
        /** The internal side of {@code object}. */
        Ownership of(NativeObject object);

        /** Like {@link NativeObject#close()}, as a part of a close that has a deadline already. */
        void close(NativeObject object, Deadline deadline);
    }

    /** Gives a native object back, or abandons it when that is not possible before the deadline. */
    @FunctionalInterface
    public interface Release {
        /** The Java object is closed, whatever happens here. */
        void release(long address, Deadline deadline);
    }

    private static final Cleaner LEAKS = Cleaner.create();
    private static @Nullable Access access;

    private final ResourceNode node;
    private final Cleaner.Cleanable leakReport;
    private @Nullable Runnable check;
    private @Nullable Release release;
    private List<? extends NativeObject> owned = List.of();
    private long lastWait;

    /** To be called by {@link NativeObject} only. */
    public Ownership(NativeObject object, String kind, NativeObject... held) {
        this.node = new ResourceNode(kind);
        try {
            for (NativeObject other : held) {
                hold(other);
            }
        } catch (RuntimeException e) {
            node.endClose();
            throw e;
        }
        this.leakReport = LEAKS.register(object, node);
    }

    /** To be called by {@link NativeObject} only. */
    public static void setAccess(Access toObjects) {
        access = toObjects;
    }

    private static Access access() {
        return Objects.requireNonNull(access);
    }

    /** The internal side of {@code object}. */
    public static Ownership of(NativeObject object) {
        return access().of(object);
    }

    /** Its name in messages: kind and number. */
    public String label() {
        return node.label();
    }

    /** How many objects were collected without having been closed, since the JVM started. */
    public static long leaks() {
        return ResourceNode.leaks();
    }

    /** The exception for a use after close. */
    public IllegalStateException closed() {
        return node.useAfterClose();
    }

    /** Of a stream: work that is enqueued from now on waits for an event; the number is the device's of that wait. */
    public void waits(long number) {
        lastWait = number;
    }

    /** Of a stream: the number of its last wait for an event; 0 for none. */
    public long lastWait() {
        return lastWait;
    }

    /** From now on {@code other} cannot be closed before this. */
    public void hold(NativeObject other) {
        node.hold(of(other).node);
    }

    /**
     * How it is closed.
     *
     * @param closeCheck throws if it must not be closed now, or on this thread; then it stays open
     * @param closeRelease gives the native object back
     */
    public void onClose(Runnable closeCheck, Release closeRelease) {
        this.check = closeCheck;
        this.release = closeRelease;
    }

    /** The same for an object that has nothing native of its own. */
    public void onClose(Runnable closeCheck) {
        this.check = closeCheck;
    }

    /** Holds {@code objects}, and closes them with itself, in this order. */
    public void owns(List<? extends NativeObject> objects) {
        objects.forEach(this::hold);
        this.owned = objects;
    }

    /**
     * Refuses a close: checks what {@link #onClose} has asked for; and that the objects that it {@link #owns} may be
     * closed now too, and are held by each other and by this alone, so that either all of them are closed or none.
     */
    public void checkClose() {
        if (check != null) {
            check.run();
        }
        if (!owned.isEmpty()) {
            Set<ResourceNode> among = new HashSet<>(Set.of(node));
            owned.forEach(object -> among.add(of(object).node));
            for (NativeObject object : owned) {
                Ownership part = of(object);
                part.node.checkHolders(among);
                part.checkClose();
            }
        }
    }

    /** Whether the caller is the one to close it; false if that was done or is being done. Throws if it is refused. */
    public boolean beginClose() {
        checkClose();
        return node.beginClose();
    }

    /** Closes it after {@link #beginClose}, and what it owns. */
    public void endClose(long address, Deadline deadline) {
        try {
            if (release != null) {
                release.release(address, deadline);
            }
        } finally {
            node.endClose();
            leakReport.clean();
            closeAll(owned, deadline);
        }
    }

    /** Closes all of them in their order; one that cannot be closed does not keep the others. */
    public static void closeAll(Iterable<? extends NativeObject> objects) {
        closeAll(objects, Deadline.ofClose());
    }

    /** The same as a part of a close that has a deadline already. */
    public static void closeAll(Iterable<? extends NativeObject> objects, Deadline deadline) {
        RuntimeException first = null;
        for (NativeObject object : objects) {
            try {
                access().close(object, deadline);
            } catch (RuntimeException e) {
                if (first == null) {
                    first = e;
                } else {
                    first.addSuppressed(e);
                }
            }
        }
        if (first != null) {
            throw first;
        }
    }
}
