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
 * The five calls that are made per step. Every pointer travels as a {@code long}: nothing is allocated, not even while
 * the call is interpreted, and no session is acquired. Keeping the memory behind the addresses alive is the callers'
 * business.
 */
public final class HotCalls {
    private static final MethodHandle UPDATE = handle("ncclEpUpdateHandle", 4);
    private static final MethodHandle DISPATCH = handle("ncclEpDispatch", 6);
    private static final MethodHandle COMBINE = handle("ncclEpCombine", 5);
    private static final MethodHandle COMPLETE = handle("ncclEpComplete", 3);

    /** Linked when a graph is instantiated, since not everybody has one. */
    private static final class Launch {
        private static final MethodHandle HANDLE = handle("cudaGraphLaunch", 2);
    }

    private HotCalls() {
    }

    /** By name: asking the generated class for the address would link its own handle too, which nobody calls. */
    private static MethodHandle handle(String function, int pointers) {
        MemoryLayout[] parameters = new MemoryLayout[pointers];
        Arrays.fill(parameters, JAVA_LONG);
        return Linker.nativeLinker().downcallHandle(SymbolLookup.loaderLookup().findOrThrow(function),
                FunctionDescriptor.of(JAVA_INT, parameters));
    }

    /** Links the calls of NCCL EP, so that the first step of a server does not pay for it. */
    public static void link() {
        // Class initialisation has done it.
    }

    /** Links {@code cudaGraphLaunch}, so that the first launch does not pay for it. */
    public static void linkLaunch() {
        Objects.requireNonNull(Launch.HANDLE);
    }

    /** {@code ncclEpUpdateHandle}. */
    public static int update(long handle, long topkIdx, long layoutInfo, long stream) {
        try {
            return (int) UPDATE.invokeExact(handle, topkIdx, layoutInfo, stream);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** {@code ncclEpDispatch}. */
    public static int dispatch(long handle, long inputs, long outputs, long layoutInfo, long config, long stream) {
        try {
            return (int) DISPATCH.invokeExact(handle, inputs, outputs, layoutInfo, config, stream);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** {@code ncclEpCombine}. */
    public static int combine(long handle, long inputs, long outputs, long config, long stream) {
        try {
            return (int) COMBINE.invokeExact(handle, inputs, outputs, config, stream);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** {@code ncclEpComplete}. */
    public static int complete(long handle, long config, long stream) {
        try {
            return (int) COMPLETE.invokeExact(handle, config, stream);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** {@code cudaGraphLaunch}. */
    public static int launch(long graphExec, long stream) {
        try {
            return (int) Launch.HANDLE.invokeExact(graphExec, stream);
        } catch (Throwable e) {
            throw unexpected(e);
        }
    }

    /** A downcall throws nothing of its own; what arrives here is the VM's (a stack overflow, say). */
    private static RuntimeException unexpected(Throwable e) {
        if (e instanceof Error error) {
            throw error;
        }
        if (e instanceof RuntimeException runtime) {
            return runtime;
        }
        throw new AssertionError(e);
    }
}
