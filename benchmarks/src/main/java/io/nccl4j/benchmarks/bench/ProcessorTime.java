package io.nccl4j.benchmarks.bench;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.invoke.MethodHandle;

/**
 * Processor time of all threads of this process, native ones included; the C library's {@code clock}, finer than the
 * JVM's.
 */
final class ProcessorTime {
    /** POSIX counts in microseconds, whatever the clock's resolution. */
    private static final long NANOS_PER_CLOCK = 1000;

    private static final MethodHandle CLOCK = link();

    private ProcessorTime() {
    }

    private static MethodHandle link() {
        Linker linker = Linker.nativeLinker();
        return linker.downcallHandle(linker.defaultLookup().findOrThrow("clock"), FunctionDescriptor.of(JAVA_LONG));
    }

    /** Nanoseconds so far. */
    static long nanos() {
        try {
            return (long) CLOCK.invokeExact() * NANOS_PER_CLOCK;
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
    }
}
