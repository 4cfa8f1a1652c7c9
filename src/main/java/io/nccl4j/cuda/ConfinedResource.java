package io.nccl4j.cuda;

import io.nccl4j.NativeObject;
import java.util.function.IntSupplier;

/**
 * A CUDA object that belongs to one thread, platform or virtual: at first the one that made it. Only that thread may
 * use or close it, since a native call on an object that another thread destroys would end the process.
 */
abstract class ConfinedResource extends DeviceResource {
    /** Plain, for the hot path; moves to another thread only by a call of that thread. */
    private Thread owner = Thread.currentThread();

    ConfinedResource(String kind, long address, CudaDevice device, boolean owned, NativeObject... held) {
        super(kind, address, device, owned, held);
    }

    /**
     * Makes it belong to the calling thread. The thread that had it must not be using it any more, and what it did must
     * be visible here: hand it over through a queue, a future or a join.
     *
     * @throws IllegalStateException after close, or while it is being captured
     */
    public final void bindToCurrentThread() {
        address();
        checkBind();
        owner = Thread.currentThread();
        device().changed();
    }

    /** Throws if it cannot change its thread now. */
    void checkBind() {
    }

    /**
     * Refuses a call that only the owner may make.
     *
     * @param call its name, for the message
     * @throws IllegalStateException if it is closed or belongs to another thread, or its device was reset
     */
    public final void checkThread(String call) {
        if (owner != Thread.currentThread() || isClosed() || isOfEarlierGeneration()) {
            throw refused(call);
        }
    }

    private IllegalStateException refused(String call) {
        address();
        checkNotReset(call);
        return foreign(call, owner);
    }

    /**
     * Makes a call that needs this device to be current. A platform thread has made it so itself, and the call says so
     * if it has not; a virtual thread cannot.
     */
    final int onDevice(IntSupplier call) {
        return Thread.currentThread().isVirtual() ? device().call(call::getAsInt) : call.getAsInt();
    }

    /** Makes such a call, and throws for a status other than success. */
    final void check(String function, IntSupplier call) {
        device().check(onDevice(call), function);
    }

    final boolean belongsToCurrentThread() {
        return owner == Thread.currentThread();
    }

    /** An owner that has ended leaves its objects to whoever closes them. */
    @Override
    void checkClose() {
        super.checkClose();
        Thread thread = owner;
        if (thread != Thread.currentThread() && thread.isAlive()) {
            throw foreign("close", thread);
        }
    }

    private IllegalStateException foreign(String call, Thread thread) {
        return new IllegalStateException(call + " of " + label() + " by " + name(Thread.currentThread())
                + ": it belongs to " + name(thread) + "; call bindToCurrentThread() to hand it over");
    }

    private static String name(Thread thread) {
        return thread.getName().isEmpty() ? thread.toString() : "thread " + thread.getName();
    }
}
