package io.nccl4j.benchmarks.bench;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.invoke.MethodHandle;

/** The C library's {@code memcpy}: what the machine can do. */
final class MemoryCopy {
    private static final MethodHandle MEMCPY = link();

    private MemoryCopy() {
    }

    private static MethodHandle link() {
        Linker linker = Linker.nativeLinker();
        return linker.downcallHandle(linker.defaultLookup().findOrThrow("memcpy"),
                FunctionDescriptor.of(JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG));
    }

    /** Copies between two addresses. */
    static void copy(long to, long from, long bytes) {
        try {
            long ignored = (long) MEMCPY.invokeExact(to, from, bytes);
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
    }
}
