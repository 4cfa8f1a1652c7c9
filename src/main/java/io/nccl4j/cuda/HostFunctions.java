package io.nccl4j.cuda;

import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.bindings.cudart.cudaHostFn_t;
import io.nccl4j.internal.CaptureScope;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Java functions in stream order. One native stub serves all of them; the user pointer is the function's number in a table. An
 * exception must not leave the stub (it would end the VM): it is kept for the stream.
 */
final class HostFunctions {
    private record Entry(Runnable function, CudaStream stream, boolean once) {
    }

    private static final Logger LOG = LoggerFactory.getLogger("io.nccl4j.cuda");
    private static final Map<Long, Entry> ENTRIES = new ConcurrentHashMap<>();
    private static final AtomicLong NUMBERS = new AtomicLong();
    private static final MemorySegment STUB = cudaHostFn_t.allocate(HostFunctions::run, Arena.global());

    private HostFunctions() {
    }

    static void launch(CudaStream stream, Runnable function, @Nullable CaptureScope scope) {
        long number = NUMBERS.incrementAndGet();
        ENTRIES.put(number, new Entry(function, stream, scope == null));
        boolean launched = false;
        try {
            stream.device().check(
                    CudaRuntime.cudaLaunchHostFunc(stream.segment(), STUB, MemorySegment.ofAddress(number)),
                    "cudaLaunchHostFunc");
            launched = true;
        } finally {
            if (!launched) {
                ENTRIES.remove(number);
            }
        }
        if (scope != null) {
            scope.whenReleased(() -> ENTRIES.remove(number));
            stream.retain(stream);
        }
    }

    private static void run(MemorySegment userData) {
        Entry entry = ENTRIES.get(userData.address());
        if (entry == null) {
            LOG.error("host function {} was called after its graph was closed", userData.address());
            return;
        }
        if (entry.once) {
            ENTRIES.remove(userData.address());
        }
        try {
            entry.function.run();
        } catch (Throwable e) {
            LOG.error("a host function on {} failed", entry.stream, e);
            entry.stream.hostFailure(e);
        }
    }
}
