package io.nccl4j.internal;

import java.lang.ref.Cleaner;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * Something with an address and an owner. Closing is idempotent, is refused while others (children, captured graphs) hold it,
 * and is never done by the garbage collector: a resource that was dropped is reported with the place of its creation.
 *
 * <p>The address is a plain field: resources are confined to a thread or handed over safely by their users, and the hot path
 * reads it on every call.
 */
public abstract class NativeResource implements AutoCloseable {
    private static final Cleaner LEAKS = Cleaner.create();

    private final ResourceNode node;
    private final Cleaner.Cleanable leakReport;
    private long address;

    /**
     * @param kind what it is called in messages
     * @param address of the native object, not 0
     * @param held what cannot be closed before this
     */
    protected NativeResource(String kind, long address, NativeResource... held) {
        if (address == 0) {
            throw new IllegalArgumentException(kind + ": the address is NULL");
        }
        this.node = new ResourceNode(kind);
        this.address = address;
        try {
            for (NativeResource other : held) {
                node.hold(other.node);
            }
        } catch (RuntimeException e) {
            node.endClose();
            throw e;
        }
        this.leakReport = LEAKS.register(this, node);
    }

    /**
     * The address of the native object.
     *
     * @throws IllegalStateException after close
     */
    public final long address() {
        long value = address;
        if (value == 0) {
            throw node.closed();
        }
        return value;
    }

    /** Whether {@link #close()} was called. */
    public final boolean isClosed() {
        return address == 0;
    }

    /** What it is called in messages: its kind and a number. */
    protected final String label() {
        return node.label();
    }

    /** @throws IllegalStateException after close */
    protected final void checkOpen() {
        address();
    }

    /** From now on {@code other} cannot be closed before this. */
    protected final void hold(NativeResource other) {
        node.hold(other.node);
    }

    /**
     * For an owner that closes several others together with itself: refuses unless they are held by each other and by this alone, so
     * that either all of them are closed or none.
     */
    protected final void checkHeldHereOnly(List<? extends NativeResource> owned) {
        Set<ResourceNode> among = new HashSet<>(Set.of(node));
        for (NativeResource resource : owned) {
            among.add(resource.node);
        }
        for (NativeResource resource : owned) {
            resource.node.checkHolders(among);
        }
    }

    /**
     * Releases the native object. Does nothing the second time.
     *
     * @throws IllegalStateException if something that lives needs it; the message names that
     */
    @Override
    public final void close() {
        if (address == 0) {
            return;
        }
        checkClose();
        if (!node.beginClose()) {
            return;
        }
        long value = address;
        boolean released = false;
        try {
            prepareClose();
            released = true;
        } finally {
            if (!released) {
                node.reopen();
            }
        }
        address = 0;
        try {
            release(value);
        } finally {
            node.endClose();
            leakReport.clean();
            closed();
        }
    }

    /** Closes all of them in their order; one that cannot be closed does not keep the others. */
    public static void closeAll(Iterable<? extends NativeResource> resources) {
        RuntimeException first = null;
        for (NativeResource resource : resources) {
            try {
                resource.close();
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

    /** Refuses a close that is not allowed now, on this thread: throws, and the resource stays open. */
    protected void checkClose() {
    }

    /** What may fail and leave the resource open, such as a wait for work in flight. */
    protected void prepareClose() {
    }

    /** Gives the native object back, or abandons it; the resource is closed whatever happens here. */
    protected abstract void release(long released);

    /** Runs when this holds nothing any more: closes what it owned. */
    protected void closed() {
    }
}
