package io.nccl4j.ep;

/**
 * Allocates the device memory that NCCL EP takes from {@code cudaMalloc} otherwise: workspace, counters and handle
 * blocks, not the windows ({@code ncclEpAllocConfig_t}). Called while a group or handle is created or closed, on that
 * thread or, for groups, on one that does it for it, with the device current: must not wait for other ranks, nor take
 * locks that callers hold.
 */
public interface EpAllocator {
    /**
     * Allocates.
     *
     * @param bytes number of bytes
     * @return a device address, at least 256-byte aligned
     * @throws RuntimeException if there is no memory: the call of nccl4j in progress is undone and throws it
     */
    long allocate(long bytes);

    /**
     * Frees what {@link #allocate} returned; an exception is thrown by the next call of the group or handle.
     *
     * @param address address of the native object, not 0
     */
    void free(long address);
}
