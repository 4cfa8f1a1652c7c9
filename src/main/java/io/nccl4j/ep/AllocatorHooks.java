package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.bindings.ncclep.ncclEpAllocConfig_t;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.internal.DeviceChanges;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.util.Arrays;
import java.util.Collections;
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
    private static final MethodHandle ALLOCATE = hook("allocate", 3);
    private static final MethodHandle FREE = hook("free", 2);

    private final EpAllocator allocator;
    private final Set<Long> ours = ConcurrentHashMap.newKeySet();
    private final DeviceChanges changes;
    private volatile @Nullable Throwable failure;

    /** @param changes of the group's device, one more after a failure */
    AllocatorHooks(EpAllocator allocator, DeviceChanges changes) {
        this.allocator = allocator;
        this.changes = changes;
    }

    /** Writes the hooks into the group's configuration; they live as long as {@code arena}. */
    void encode(MemorySegment config, Arena arena) {
        ncclEpAllocConfig_t.alloc_fn(config, stub(ALLOCATE, arena));
        ncclEpAllocConfig_t.free_fn(config, stub(FREE, arena));
        ncclEpAllocConfig_t.context(config, MemorySegment.NULL);
    }

    /** Takes addresses as numbers: a segment would be allocated outside of the guard. */
    private MemorySegment stub(MethodHandle hook, Arena arena) {
        MethodHandle bound = hook.bindTo(this);
        Class<?>[] parameters = bound.type().parameterArray();
        MemoryLayout[] longs = new MemoryLayout[parameters.length];
        Arrays.fill(longs, JAVA_LONG);
        return Linker.nativeLinker().upcallStub(bound, FunctionDescriptor.of(JAVA_INT, longs), arena);
    }

    private static MethodHandle hook(String name, int parameters) {
        try {
            return MethodHandles.lookup().findVirtual(AllocatorHooks.class, name,
                    MethodType.methodType(int.class, Collections.nCopies(parameters, long.class)));
        } catch (ReflectiveOperationException e) {
            throw new AssertionError(e);
        }
    }

    /**
     * Memory for a handle, asked for from here: what the allocator throws is the caller's exception at once.
     *
     * @throws IllegalStateException if the allocator throws, or gives an address that cannot be
     */
    DeviceMemory allocate(CudaDevice device, long bytes) {
        try {
            return DeviceMemory.adopt(checked(allocator.allocate(bytes), bytes), bytes, device, this::giveBack);
        } catch (Throwable e) {
            throw thrown(e);
        }
    }

    private void giveBack(long address) {
        try {
            allocator.free(address);
        } catch (Throwable e) {
            throw thrown(e);
        }
    }

    private static long checked(long address, long bytes) {
        if (address == 0 || address % ALIGNMENT != 0) {
            throw new IllegalStateException("address 0x" + Long.toHexString(address) + " for " + bytes
                    + " bytes: must be a multiple of " + ALIGNMENT + ", not NULL");
        }
        return address;
    }

    private int allocate(long out, long bytes, long context) {
        try {
            MemorySegment target = MemorySegment.ofAddress(out).reinterpret(ADDRESS.byteSize());
            try {
                target.set(ADDRESS, 0, MemorySegment.ofAddress(checked(allocator.allocate(bytes), bytes)));
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

    private int free(long address, long context) {
        try {
            if (ours.remove(address)) {
                return CudaRuntime.cudaFree(MemorySegment.ofAddress(address));
            }
            allocator.free(address);
        } catch (Throwable e) {
            keep(e);
        }
        return 0;
    }

    private void keep(Throwable e) {
        if (failure == null) {
            failure = e;
            changes.add();
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
            throw thrown(e);
        }
    }

    private static IllegalStateException thrown(Throwable e) {
        return new IllegalStateException("the allocator of the EP group threw " + e, e);
    }
}
