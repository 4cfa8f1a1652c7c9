package io.nccl4j.cuda;

import io.nccl4j.NativeObject;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.Ownership;
import java.lang.foreign.MemorySegment;
import java.util.HashSet;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A CUDA object of one device: destroyed when the work in flight is done, abandoned if the device is lost or its work
 * does not end in time.
 */
abstract class DeviceResource extends NativeObject {
    private static final Logger LOG = LoggerFactory.getLogger("io.nccl4j.cuda");

    private final CudaDevice device;
    private final boolean owned;
    private final int generation;
    /** Other devices whose streams have used it. */
    private volatile Set<CudaDevice> elsewhere = Set.of();

    DeviceResource(String kind, long address, CudaDevice device, boolean owned, NativeObject... held) {
        super(kind, address, held);
        this.device = device;
        this.owned = owned;
        this.generation = device.generation();
        Ownership.of(this).onClose(this::checkClose, this::release);
    }

    /** {@return the device it lives on} */
    public final CudaDevice device() {
        return device;
    }

    /** {@return whether closing it gives the native object back; false for wrapped ones} */
    public final boolean isOwned() {
        return owned;
    }

    /** Whether a reset of the device has destroyed the native object. */
    final boolean isOfEarlierGeneration() {
        return generation != device.generation();
    }

    /** Refuses a use after {@link CudaDevice#reset}: the runtime would read freed memory. */
    final void checkNotReset(String call) {
        if (isOfEarlierGeneration()) {
            throw new IllegalStateException(
                    call + " of " + label() + ": it is gone since " + device + " was reset; close it and make it anew");
        }
    }

    void checkClose() {
        CaptureScope.refuse("close of " + label(), "close after the capture");
    }

    private void release(long address, Deadline deadline) {
        device.changed();
        released();
        if (!owned || isOfEarlierGeneration()) {
            return;
        }
        if (device.failure() != null || !awaitLastUse(deadline)) {
            LOG.error("{} is abandoned: {}", label(),
                    device.failure() != null
                            ? "its device has failed"
                            : "work that may use it is still pending after " + deadline);
            return;
        }
        try {
            destroy(MemorySegment.ofAddress(address));
        } catch (CudaException e) {
            if (!e.isSticky()) {
                throw e;
            }
            // The failure is that of earlier work, which the destruction was the first to see.
            LOG.error("{} is abandoned: its device has failed", label());
        }
    }

    /** Java-side bookkeeping, whatever becomes of the native object. */
    void released() {
    }

    /** Waits for work that may use the object; false if it does not end in time. */
    boolean awaitLastUse(Deadline deadline) {
        boolean done = device.awaitLastUse(deadline.remaining());
        for (CudaDevice other : elsewhere) {
            done &= other.awaitLastUse(deadline.remaining());
        }
        return done;
    }

    /** Work that uses it was enqueued on a stream of another device: its own device does not wait for that. */
    synchronized void usedOn(CudaDevice other) {
        if (!elsewhere.contains(other)) {
            Set<CudaDevice> all = new HashSet<>(elsewhere);
            all.add(other);
            elsewhere = all;
        }
    }

    /** The native object as C takes it. */
    final MemorySegment pointer() {
        return MemorySegment.ofAddress(address());
    }

    /** Destroys the native object. */
    abstract void destroy(MemorySegment self);

    @Override
    public String toString() {
        return label() + (isClosed() ? " (closed)" : " on " + device);
    }
}
