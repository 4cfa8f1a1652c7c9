package io.nccl4j.internal;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.util.Arrays;
import java.util.Objects;

/**
 * The launches of the CUDA runtime that are made per step, with every pointer as a {@code long}, as in {@link
 * HotCalls}. Each is linked when the first graph or module is made, since not everybody has one.
 */
public final class LaunchCalls {
    private static final class Graph {
        private static final MethodHandle HANDLE = handle("cudaGraphLaunch", 2);
    }

    private static final class Kernel {
        private static final MethodHandle HANDLE = handle("cudaLaunchKernelExC", 3);
    }

    private LaunchCalls() {
    }

    /** By name: asking the generated class for the address would link its own handle too, which nobody calls. */
    static MethodHandle handle(String function, int pointers) {
        MemoryLayout[] parameters = new MemoryLayout[pointers];
        Arrays.fill(parameters, JAVA_LONG);
        return Linker.nativeLinker().downcallHandle(SymbolLookup.loaderLookup().findOrThrow(function),
                FunctionDescriptor.of(JAVA_INT, parameters));
    }

    /** Links {@code cudaGraphLaunch}, so that the first launch does not pay for it. */
    public static void linkGraph() {
        Objects.requireNonNull(Graph.HANDLE);
    }

    /** Links {@code cudaLaunchKernelExC}, so that the first launch does not pay for it. */
    public static void linkKernel() {
        Objects.requireNonNull(Kernel.HANDLE);
    }

    /** {@code cudaGraphLaunch}. */
    public static int graph(long graphExec, long stream) {
        try {
            return (int) Graph.HANDLE.invokeExact(graphExec, stream);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** {@code cudaLaunchKernelExC}. */
    public static int kernel(long config, long function, long arguments) {
        try {
            return (int) Kernel.HANDLE.invokeExact(config, function, arguments);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** A downcall throws nothing of its own; what arrives here is the VM's (a stack overflow, say). */
    static RuntimeException unexpected(Throwable e) {
        if (e instanceof Error error) {
            throw error;
        }
        if (e instanceof RuntimeException runtime) {
            return runtime;
        }
        throw new AssertionError(e);
    }
}
