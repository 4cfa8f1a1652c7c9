package io.nccl4j;

import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.Ownership;

/**
 * A native object that Java code holds: a stream, memory, a communicator, an EP group. Subclasses are part of nccl4j.
 *
 * <p>Objects form an ownership tree. An object that others need (its children, a captured graph that uses it) cannot be
 * closed before them. Nothing is ever destroyed by the garbage collector: an object that was dropped without
 * {@link #close()} is reported in the log {@code io.nccl4j.leak} with the place of its creation, and leaks.
 *
 * <p>After close every method but {@code close}, {@link #isClosed} and {@code toString} throws
 * {@link IllegalStateException}.
 */
public abstract class NativeObject implements AutoCloseable {
    static {
        Ownership.setAccess(new Ownership.Access() {
            @Override
            public Ownership of(NativeObject object) {
                return object.ownership;
            }

            @Override
            public void close(NativeObject object, Deadline deadline) {
                object.close(deadline);
            }
        });
    }

    private final Ownership ownership;
    /** 0 after close. A plain field, which the hot path reads at every call. */
    private long address;

    /**
     * Makes it open.
     *
     * @param kind its name in messages
     * @param address of the native object, not 0
     * @param held objects that cannot be closed before this one
     */
    @SuppressWarnings("this-escape")
    protected NativeObject(String kind, long address, NativeObject... held) {
        if (address == 0) {
            throw new IllegalArgumentException(kind + ": the address is NULL");
        }
        this.ownership = new Ownership(this, kind, held);
        this.address = address;
    }

    /**
     * {@return the address of the native object} From any thread.
     *
     * @throws IllegalStateException after close
     */
    public final long address() {
        long value = address;
        if (value == 0) {
            throw ownership.closed();
        }
        return value;
    }

    /** {@return whether it was closed} From any thread. */
    public final boolean isClosed() {
        return address == 0;
    }

    /**
     * Releases the native object. Waits for work in flight that uses it, with one limit for everything that this call
     * does: system property {@code nccl4j.close.limit.seconds}, 30 by default. After that, or if its device or
     * communicator has failed, the native object is abandoned, which is logged. Does nothing the second time.
     *
     * @throws IllegalStateException if something open needs it, which the message names, or if this is not a time or a
     *     thread to close it; the object stays open
     */
    @Override
    public final void close() {
        if (address != 0) {
            close(Deadline.ofClose());
        }
    }

    private void close(Deadline deadline) {
        if (address == 0 || !ownership.beginClose()) {
            return;
        }
        long released = address;
        address = 0;
        ownership.endClose(released, deadline);
    }

    /** {@return its name in messages: kind and number} */
    protected final String label() {
        return ownership.label();
    }

    /** Kind and number, and whether it is closed. */
    @Override
    public String toString() {
        return label() + (isClosed() ? " (closed)" : "");
    }
}
