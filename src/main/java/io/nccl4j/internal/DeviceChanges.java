package io.nccl4j.internal;

import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/**
 * Counts, for one device, the events after which a call that was right may be wrong: memory, a window or a stream was
 * closed, a tensor has another number of rows, a capture has begun or ended, a communicator or the device was lost. A
 * call that was checked keeps the count and is looked at again when it differs, or when a {@link DeviceThread} does.
 */
public final class DeviceChanges {
    private static final ConcurrentHashMap<Integer, DeviceChanges> BY_ORDINAL = new ConcurrentHashMap<>();

    private volatile int count;
    private long waits;

    private DeviceChanges() {
    }

    /** Those of the device with this ordinal. */
    public static DeviceChanges of(int ordinal) {
        return BY_ORDINAL.computeIfAbsent(ordinal, unused -> new DeviceChanges());
    }

    /** Changes so far. */
    public int count() {
        return count;
    }

    /** Something has changed; from any thread. */
    public synchronized void add() {
        count++;
    }

    /** A stream of the device waits for an event: the number of that wait, from 1. */
    public synchronized long addWait() {
        return ++waits;
    }

    /** Waits of all streams of the device for events so far. */
    public synchronized long waits() {
        return waits;
    }

    /** Something that concerns all devices has changed. */
    static void addToAll() {
        BY_ORDINAL.values().forEach(DeviceChanges::add);
    }

    /**
     * A thread, and the device that nccl4j made current for it. There is one per thread, so that whoever belongs to a
     * thread and a device keeps this and compares two fields.
     */
    public static final class DeviceThread {
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
}
