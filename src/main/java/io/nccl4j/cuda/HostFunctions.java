package io.nccl4j.cuda;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.internal.CaptureScope;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.function.ToIntBiFunction;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Java functions in stream order. One native stub serves all of them; the user pointer is the function's number in a
 * table. An exception must not leave the stub, since it would end the VM: it is kept for the stream.
 */
final class HostFunctions {
    private record Entry(Runnable function, Object stream, Consumer<Throwable> failed, boolean once) {
    }

    private static final Logger LOG = LoggerFactory.getLogger("io.nccl4j.cuda");
    private static final Map<Long, Entry> ENTRIES = new ConcurrentHashMap<>();
    private static final AtomicLong NUMBERS = new AtomicLong();
    private static final MemorySegment STUB = stub();
    /** The failure of a function whose stream could not be found, because memory was short. */
    private static volatile @Nullable Throwable unassigned;

    private HostFunctions() {
    }

    /** Takes the user pointer as a number: a segment would be allocated outside of the guard. */
    private static MemorySegment stub() {
        try {
            return Linker.nativeLinker().upcallStub(
                    MethodHandles.lookup().findStatic(HostFunctions.class, "run",
                            MethodType.methodType(void.class, long.class)),
                    FunctionDescriptor.ofVoid(JAVA_LONG), Arena.global());
        } catch (ReflectiveOperationException e) {
            throw new AssertionError(e);
        }
    }

    /**
     * @param stream names the stream in the log
     * @param failed is given what the function throws
     * @param scope the capture that the call is part of, if any
     * @param call {@code cudaLaunchHostFunc} on the stream, of a function and its user pointer
     * @return what the call answered
     */
    static int launch(Runnable function, Object stream, Consumer<Throwable> failed, @Nullable CaptureScope scope,
            ToIntBiFunction<MemorySegment, MemorySegment> call) {
        long number = NUMBERS.incrementAndGet();
        ENTRIES.put(number, new Entry(function, stream, failed, scope == null));
        int status = call.applyAsInt(STUB, MemorySegment.ofAddress(number));
        if (status != 0) {
            ENTRIES.remove(number);
        } else if (scope != null) {
            scope.whenReleased(() -> ENTRIES.remove(number));
        }
        return status;
    }

    /** A failure that no stream could be told of, once; null if there was none. */
    static @Nullable Throwable takeUnassigned() {
        Throwable e = unassigned;
        if (e != null) {
            unassigned = null;
        }
        return e;
    }

    private static void run(long number) {
        Entry entry = null;
        try {
            entry = ENTRIES.get(number);
            if (entry == null) {
                LOG.error("host function {} was called after its graph was closed", number);
                return;
            }
            if (entry.once) {
                ENTRIES.remove(number);
            }
            entry.function.run();
        } catch (Throwable e) {
            // First of all it is kept; nothing here allocates.
            if (entry != null) {
                entry.failed.accept(e);
            } else {
                unassigned = e;
            }
            log(entry, e);
        }
    }

    private static void log(@Nullable Entry entry, Throwable failure) {
        try {
            LOG.error("a host function on {} failed", entry == null ? "an unknown stream" : entry.stream, failure);
        } catch (Throwable e) {
            // The stream tells of the failure; a logger that fails too has nobody to be told to.
        }
    }
}
