package io.nccl4j.nccl;

import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.internal.LibraryLoader;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * Common to the ranks of a communicator that is to be made, {@code ncclUniqueId}: made by one of them, given to all by
 * a {@link Bootstrap} or by other means. Serves one communicator only. Says where that one rank listens, so it is to be
 * kept from strangers.
 */
public final class UniqueId {
    /** Its size. */
    public static final int BYTES = Nccl.NCCL_UNIQUE_ID_BYTES();

    private final byte[] bytes;

    private UniqueId(byte[] bytes) {
        this.bytes = bytes;
    }

    /**
     * Makes one, {@code ncclGetUniqueId}. From now on this process waits for the ranks that have it, so it must live
     * until the communicator exists.
     *
     * @return the id
     * @throws NcclException if NCCL cannot listen on a network interface
     */
    public static UniqueId create() {
        LibraryLoader.loadNccl();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(BYTES);
            NcclException.check("ncclGetUniqueId", Nccl.ncclGetUniqueId(out), null);
            return new UniqueId(out.toArray(ValueLayout.JAVA_BYTE));
        }
    }

    /**
     * {@return one that another rank has made}
     *
     * @param bytes of {@link #toBytes()}
     * @throws IllegalArgumentException if there are not {@link #BYTES} of them
     */
    public static UniqueId of(byte[] bytes) {
        if (bytes.length != BYTES) {
            throw new IllegalArgumentException("a unique id has " + BYTES + " bytes, not " + bytes.length);
        }
        return new UniqueId(bytes.clone());
    }

    /** {@return its bytes, for other ranks} */
    public byte[] toBytes() {
        return bytes.clone();
    }

    MemorySegment encode(SegmentAllocator allocator) {
        return allocator.allocateFrom(ValueLayout.JAVA_BYTE, bytes);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof UniqueId id && Arrays.equals(bytes, id.bytes);
    }

    @Override
    public int hashCode() {
        return Arrays.hashCode(bytes);
    }

    /** Tells ids apart without giving them away. */
    @Override
    public String toString() {
        return "UniqueId(" + Integer.toHexString(hashCode()) + ")";
    }
}
