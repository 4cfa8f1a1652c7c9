package io.nccl4j.nccl;

import io.nccl4j.NativeObject;
import io.nccl4j.WaitTimeoutException;
import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.DeviceChanges;
import io.nccl4j.internal.Out;
import io.nccl4j.internal.Ownership;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Memory that the other ranks of a communicator can read and write, {@code ncclWindow_t}. Peers find their part of it
 * by the sender's window and offset, so all ranks register their windows in the same order, with the same sizes.
 *
 * <p>Belongs to its communicator and holds its memory: both can only be closed after it.
 */
public final class Window extends NativeObject {
    private static final Logger LOG = LoggerFactory.getLogger(Window.class);

    private final Communicator communicator;
    private final DeviceMemory memory;

    private Window(long address, Communicator communicator, DeviceMemory memory) {
        super("Window", address, communicator, memory);
        this.communicator = communicator;
        this.memory = memory;
        Ownership.of(this).onClose(this::checkClose, this::release);
    }

    static Window register(Communicator communicator, DeviceMemory memory) {
        CaptureScope.refuse("Communicator.register", "register before the capture");
        NcclGroup.refuse("Communicator.register");
        if (memory.device() != communicator.device()) {
            throw new IllegalArgumentException(
                    memory + " is not memory of " + communicator.device() + ", the device of " + communicator);
        }
        int alignment = Nccl.NCCL_WIN_REQUIRED_ALIGNMENT();
        if (memory.address() % alignment != 0) {
            throw new IllegalArgumentException(memory + " starts at 0x" + Long.toHexString(memory.address())
                    + ": a window must start at a multiple of " + alignment + " bytes");
        }
        MemorySegment self = communicator.segment();
        MemorySegment start = MemorySegment.ofAddress(memory.address());
        long window = communicator.callCollectively("ncclCommWindowRegister", communicator.limit(),
                () -> Out.ofAddress(out -> communicator.check("ncclCommWindowRegister", Nccl
                        .ncclCommWindowRegister(self, start, memory.byteSize(), out, Nccl.NCCL_WIN_COLL_SYMMETRIC()))));
        if (window == 0) {
            throw new IllegalStateException("NCCL made no window of " + memory + " for " + communicator
                    + ": symmetric memory is not supported between these ranks");
        }
        return new Window(window, communicator, memory);
    }

    /** {@return the communicator that it belongs to} */
    public Communicator communicator() {
        return communicator;
    }

    /** {@return the memory that was registered} */
    public DeviceMemory memory() {
        return memory;
    }

    /** {@return its size in bytes} */
    public long byteSize() {
        return memory.byteSize();
    }

    /**
     * {@return a part of it}
     *
     * @param offsetBytes where it starts, in bytes
     * @param bytes number of bytes
     * @throws IllegalArgumentException if the range is not inside of the window
     * @throws IllegalStateException after close
     */
    public WindowSlice slice(long offsetBytes, long bytes) {
        address();
        if (offsetBytes < 0 || bytes < 1 || offsetBytes > byteSize() - bytes) {
            throw new IllegalArgumentException("range of " + bytes + " bytes from " + offsetBytes + " is outside of "
                    + this + ", which has " + byteSize() + " bytes");
        }
        return new WindowSlice(this, offsetBytes, bytes);
    }

    /**
     * {@return all of it}
     *
     * @throws IllegalStateException after close
     */
    public WindowSlice whole() {
        return slice(0, byteSize());
    }

    private void checkClose() {
        CaptureScope.refuse("close of " + label(), "close after the capture");
        NcclGroup.refuse("close of " + label());
    }

    /** Deregisters, {@code ncclCommWindowDeregister}. Collective. */
    private void release(long released, Deadline deadline) {
        DeviceChanges.of(communicator.device().ordinal()).add();
        String reason = communicator.lostForCollectives();
        if (reason == null && !communicator.device().awaitLastUse(deadline.remaining())) {
            reason = "work that may use it is still pending after " + deadline;
        }
        if (reason == null) {
            reason = deregister(MemorySegment.ofAddress(released), deadline);
        }
        if (reason != null) {
            LOG.error("{} and its memory are left alone, not released: {}", label(), reason);
            // Other ranks may still write there.
            memory.abandon();
        }
    }

    private @Nullable String deregister(MemorySegment window, Deadline deadline) {
        MemorySegment owner = communicator.segment();
        try {
            communicator.callCollectively("ncclCommWindowDeregister", deadline.remaining(), () -> {
                communicator.check("ncclCommWindowDeregister", Nccl.ncclCommWindowDeregister(owner, window));
                return window;
            });
            return null;
        } catch (WaitTimeoutException | NcclException | IllegalStateException e) {
            return e.getMessage();
        }
    }

    @Override
    public String toString() {
        return label() + (isClosed() ? " (closed)" : " of " + communicator.device());
    }
}
