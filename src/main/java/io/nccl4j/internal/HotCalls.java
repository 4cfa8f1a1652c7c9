package io.nccl4j.internal;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.util.Collections;
import java.util.Objects;

/**
 * The calls that are made per step. Every pointer travels as a {@code long}: nothing is allocated, not even while the
 * call is interpreted, and no session is acquired. Keeping the memory behind the addresses alive is the callers'
 * business. Calls are linked when the first group, graph or module is made, since not everybody has all of these.
 */
public final class HotCalls {
    private static final class Ep {
        private static final MethodHandle UPDATE = handle("ncclEpUpdateHandle", 4);
        private static final MethodHandle DISPATCH = handle("ncclEpDispatch", 6);
        private static final MethodHandle COMBINE = handle("ncclEpCombine", 5);
        private static final MethodHandle COMPLETE = handle("ncclEpComplete", 3);
    }

    private static final class Graph {
        private static final MethodHandle LAUNCH = handle("cudaGraphLaunch", 2);
    }

    private static final class Kernel {
        private static final MethodHandle LAUNCH = handle("cudaLaunchKernelExC", 3);
    }

    private HotCalls() {
    }

    /** By name: asking the generated class for the address would link its own handle too, which nobody calls. */
    private static MethodHandle handle(String function, int pointers) {
        MemoryLayout[] parameters = Collections.nCopies(pointers, JAVA_LONG).toArray(MemoryLayout[]::new);
        return Linker.nativeLinker().downcallHandle(SymbolLookup.loaderLookup().findOrThrow(function),
                FunctionDescriptor.of(JAVA_INT, parameters));
    }

    /** Links the calls of NCCL EP, so that the first step does not pay for it. */
    public static void linkEp() {
        Objects.requireNonNull(Ep.UPDATE);
    }

    /** Links {@code cudaGraphLaunch}, so that the first launch does not pay for it. */
    public static void linkGraph() {
        Objects.requireNonNull(Graph.LAUNCH);
    }

    /** Links {@code cudaLaunchKernelExC}, so that the first launch does not pay for it. */
    public static void linkKernel() {
        Objects.requireNonNull(Kernel.LAUNCH);
    }

    /** {@code ncclEpUpdateHandle}. */
    public static int update(long handle, long topkIdx, long layoutInfo, long stream) {
        try {
            return (int) Ep.UPDATE.invokeExact(handle, topkIdx, layoutInfo, stream);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** {@code ncclEpDispatch}. */
    public static int dispatch(long handle, long inputs, long outputs, long layoutInfo, long config, long stream) {
        try {
            return (int) Ep.DISPATCH.invokeExact(handle, inputs, outputs, layoutInfo, config, stream);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** {@code ncclEpCombine}. */
    public static int combine(long handle, long inputs, long outputs, long config, long stream) {
        try {
            return (int) Ep.COMBINE.invokeExact(handle, inputs, outputs, config, stream);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** {@code ncclEpComplete}. */
    public static int complete(long handle, long config, long stream) {
        try {
            return (int) Ep.COMPLETE.invokeExact(handle, config, stream);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** {@code cudaGraphLaunch}. */
    public static int launchGraph(long graphExec, long stream) {
        try {
            return (int) Graph.LAUNCH.invokeExact(graphExec, stream);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** {@code cudaLaunchKernelExC}. */
    public static int launchKernel(long config, long function, long arguments) {
        try {
            return (int) Kernel.LAUNCH.invokeExact(config, function, arguments);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** A downcall throws nothing of its own; an error that arrives here is the VM's (a stack overflow, say). */
    static RuntimeException unexpected(Throwable e) {
        if (e instanceof Error error) {
            throw error;
        }
        return e instanceof RuntimeException runtime ? runtime : new IllegalStateException(e);
    }
}
