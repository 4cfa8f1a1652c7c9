package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.ADDRESS;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.bindings.ncclep.ncclEpAllocConfig_t;
import io.nccl4j.bindings.ncclep.ncclEpAllocFn_t;
import io.nccl4j.bindings.ncclep.ncclEpFreeFn_t;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The native side of an {@link EpAllocator}. An exception must not leave an upcall, it would end the VM; nor may an
 * allocation fail, NCCL EP would end the process. So the exception is kept for the caller, and the memory comes from
 * {@code cudaMalloc} for as long as it takes to undo what was going on.
 */
final class AllocatorHooks {
    private static final Logger LOG = LoggerFactory.getLogger("io.nccl4j.ep");
    private static final int ALIGNMENT = 256;

    private final EpAllocator allocator;
    private final Set<Long> ours = ConcurrentHashMap.newKeySet();
    private volatile @Nullable Throwable failure;

    AllocatorHooks(EpAllocator allocator) {
        this.allocator = allocator;
    }

    /** Writes the hooks into the group's configuration; they live as long as {@code arena}. */
    void encode(MemorySegment config, Arena arena) {
        ncclEpAllocConfig_t.alloc_fn(config, ncclEpAllocFn_t.allocate(this::allocate, arena));
        ncclEpAllocConfig_t.free_fn(config, ncclEpFreeFn_t.allocate(this::free, arena));
        ncclEpAllocConfig_t.context(config, MemorySegment.NULL);
    }

    private int allocate(MemorySegment out, long bytes, MemorySegment context) {
        try {
            MemorySegment target = out.reinterpret(ADDRESS.byteSize());
            try {
                long address = allocator.allocate(bytes);
                if (address == 0 || address % ALIGNMENT != 0) {
                    throw new IllegalStateException("address 0x" + Long.toHexString(address) + " for " + bytes
                            + " bytes: must be a multiple of " + ALIGNMENT + ", not NULL");
                }
                target.set(ADDRESS, 0, MemorySegment.ofAddress(address));
                return 0;
            } catch (Throwable e) {
                keep(e);
                int status = CudaRuntime.cudaMalloc(target, bytes);
                if (status == 0) {
                    ours.add(target.get(ADDRESS, 0).address());
                }
                return status;
            }
        } catch (Throwable e) {
            keep(e);
            return CudaRuntime.cudaErrorMemoryAllocation();
        }
    }

    private int free(MemorySegment address, MemorySegment context) {
        try {
            if (ours.remove(address.address())) {
                return CudaRuntime.cudaFree(address);
            }
            allocator.free(address.address());
        } catch (Throwable e) {
            keep(e);
        }
        return 0;
    }

    private void keep(Throwable e) {
        if (failure == null) {
            failure = e;
        }
        try {
            LOG.error("an allocator of an EP group failed", e);
        } catch (Throwable failed) {
            // The caller is told of the failure; a logger that fails too must not end the VM.
        }
    }

    boolean hasFailed() {
        return failure != null;
    }

    /** Throws on what an allocator has thrown since the last time. */
    void rethrow() {
        Throwable e = failure;
        if (e != null) {
            failure = null;
            throw new IllegalStateException("the allocator of the EP group threw " + e, e);
        }
    }
}
