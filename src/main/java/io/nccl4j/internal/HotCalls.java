package io.nccl4j.internal;

import java.lang.invoke.MethodHandle;

/**
 * The calls of NCCL EP that are made per step. Every pointer travels as a {@code long}: nothing is allocated, not even
 * while the call is interpreted, and no session is acquired. Keeping the memory behind the addresses alive is the
 * callers' business.
 */
public final class HotCalls {
    private static final MethodHandle UPDATE = LaunchCalls.handle("ncclEpUpdateHandle", 4);
    private static final MethodHandle DISPATCH = LaunchCalls.handle("ncclEpDispatch", 6);
    private static final MethodHandle COMBINE = LaunchCalls.handle("ncclEpCombine", 5);
    private static final MethodHandle COMPLETE = LaunchCalls.handle("ncclEpComplete", 3);

    private HotCalls() {
    }

    /** Links the calls of NCCL EP, so that the first step of a server does not pay for it. */
    public static void link() {
        // Class initialisation has done it.
    }

    /** {@code ncclEpUpdateHandle}. */
    public static int update(long handle, long topkIdx, long layoutInfo, long stream) {
        try {
            return (int) UPDATE.invokeExact(handle, topkIdx, layoutInfo, stream);
        } catch (Throwable e) {
            throw LaunchCalls.unexpected(e);
        }
    }

    /** {@code ncclEpDispatch}. */
    public static int dispatch(long handle, long inputs, long outputs, long layoutInfo, long config, long stream) {
        try {
            return (int) DISPATCH.invokeExact(handle, inputs, outputs, layoutInfo, config, stream);
        } catch (Throwable e) {
            throw LaunchCalls.unexpected(e);
        }
    }

    /** {@code ncclEpCombine}. */
    public static int combine(long handle, long inputs, long outputs, long config, long stream) {
        try {
            return (int) COMBINE.invokeExact(handle, inputs, outputs, config, stream);
        } catch (Throwable e) {
            throw LaunchCalls.unexpected(e);
        }
    }

    /** {@code ncclEpComplete}. */
    public static int complete(long handle, long config, long stream) {
        try {
            return (int) COMPLETE.invokeExact(handle, config, stream);
        } catch (Throwable e) {
            throw LaunchCalls.unexpected(e);
        }
    }
}
