package io.nccl4j.internal;

import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * The thread that something belongs to which works on that thread's current device: it can be used as long as the current device is its
 * own. Says so when that changes, so that users need not ask.
 */
public final class DeviceThread {
    private static final ThreadLocal<List<WeakReference<DeviceThread>>> OF_THREAD = ThreadLocal
            .withInitial(ArrayList::new);

    private final Object device;
    private final Consumer<@Nullable Thread> user;
    private @Nullable Thread thread;
    private boolean usable;

    /**
     * @param device its device
     * @param user is told who can use it: the thread, or null while that has another device current
     */
    public DeviceThread(Object device, Consumer<@Nullable Thread> user) {
        this.device = device;
        this.user = user;
    }

    /** It belongs to the calling thread, which has its device current. */
    public void bind() {
        Thread current = Thread.currentThread();
        if (thread != current) {
            thread = current;
            OF_THREAD.get().add(new WeakReference<>(this));
        }
        setUsable(true);
    }

    private void setUsable(boolean value) {
        usable = value;
        user.accept(value ? thread : null);
        StateChanges.add();
    }

    /** It belongs to no thread any more. */
    public void unbind() {
        thread = null;
    }

    /** Whether it belongs to the calling thread, whatever device that has current. */
    public boolean isBoundHere() {
        return thread == Thread.currentThread();
    }

    /** The calling thread has this device current from now on. */
    public static void changed(Object device) {
        List<WeakReference<DeviceThread>> here = OF_THREAD.get();
        if (!here.isEmpty()) {
            Thread current = Thread.currentThread();
            here.removeIf(reference -> {
                DeviceThread bound = reference.get();
                if (bound == null || bound.thread != current) {
                    return true;
                }
                if (bound.usable != (bound.device == device)) {
                    bound.setUsable(!bound.usable);
                }
                return false;
            });
        }
    }
}
