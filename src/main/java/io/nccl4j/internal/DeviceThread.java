package io.nccl4j.internal;

import org.jspecify.annotations.Nullable;

/**
 * A thread, and the device that nccl4j made current for it. There is one per thread, so that whoever belongs to a
 * thread and a device keeps this and compares two fields.
 */
public final class DeviceThread {
    private static final ThreadLocal<DeviceThread> HERE = ThreadLocal.withInitial(DeviceThread::new);

    private final Thread thread = Thread.currentThread();
    private @Nullable Object device;

    private DeviceThread() {
    }

    /** The calling thread's. */
    public static DeviceThread here() {
        return HERE.get();
    }

    /** The calling thread has this device current from now on. */
    public static void changed(Object device) {
        here().device = device;
    }

    /** The thread that it stands for. */
    public Thread thread() {
        return thread;
    }

    /** Whether it is the calling thread's, and that has {@code wanted} current. */
    public boolean isHereWith(Object wanted) {
        return thread == Thread.currentThread() && device == wanted;
    }
}
