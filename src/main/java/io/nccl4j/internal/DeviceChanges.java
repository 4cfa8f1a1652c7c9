package io.nccl4j.internal;

import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicIntegerFieldUpdater;

/**
 * Counts, for one device, the events after which a call that was right may be wrong: memory, a window or a stream was
 * closed, a tensor has another number of rows, a capture has begun or ended, a communicator or the device was lost. A
 * call that was checked keeps the count and is looked at again when it differs.
 */
public final class DeviceChanges {
    private static final ConcurrentHashMap<Integer, DeviceChanges> BY_ORDINAL = new ConcurrentHashMap<>();
    private static final AtomicIntegerFieldUpdater<DeviceChanges> COUNT = AtomicIntegerFieldUpdater
            .newUpdater(DeviceChanges.class, "count");

    private volatile int count;

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
    public void add() {
        COUNT.incrementAndGet(this);
    }

    /** Something that concerns all devices has changed. */
    static void addToAll() {
        BY_ORDINAL.values().forEach(DeviceChanges::add);
    }
}
