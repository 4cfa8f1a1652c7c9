package io.nccl4j.internal;

import io.nccl4j.NativeObject;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * A stream capture in progress on this thread: what it has touched so far, and the refusal of calls that cannot be
 * captured. Opened and ended by {@code CudaStream.capture}; resources of all packages report to it.
 */
public final class CaptureScope {
    private static final ThreadLocal<@Nullable CaptureScope> CURRENT = new ThreadLocal<>();
    private static final AtomicInteger OPEN = new AtomicInteger();
    /** Threads that capture in GLOBAL mode. */
    private static final Set<Thread> GLOBAL = ConcurrentHashMap.newKeySet();

    private final Set<NativeObject> touched = new LinkedHashSet<>();

    private final boolean global;
    private final List<Runnable> ends = new ArrayList<>();
    private final List<Runnable> checks = new ArrayList<>();
    private final List<Runnable> discards = new ArrayList<>();
    private final List<Runnable> endings = new ArrayList<>();
    private final List<Consumer<NativeObject>> launches = new ArrayList<>();
    private volatile @Nullable String invalidated;
    private volatile boolean launched;
    private int users;

    private CaptureScope(boolean global) {
        this.global = global;
    }

    /**
     * Begins the scope of this thread; there may be one at a time.
     *
     * @param global whether other threads must not make calls that might synchronise
     */
    public static CaptureScope begin(boolean global) {
        if (CURRENT.get() != null) {
            throw new IllegalStateException("a capture is in progress on this thread: captures cannot be nested");
        }
        CaptureScope scope = new CaptureScope(global);
        CURRENT.set(scope);
        OPEN.incrementAndGet();
        DeviceChanges.addToAll();
        if (global) {
            GLOBAL.add(Thread.currentThread());
        }
        return scope;
    }

    /** Ends the scope of this thread. */
    public void end() {
        ends.forEach(Runnable::run);
        CURRENT.remove();
        OPEN.decrementAndGet();
        DeviceChanges.addToAll();
        if (global) {
            GLOBAL.remove(Thread.currentThread());
        }
    }

    /** The scope of this thread, if it captures. */
    public static @Nullable CaptureScope current() {
        return CURRENT.get();
    }

    /** Whether this thread captures; no more than the read of a field as long as no thread does. */
    public static boolean isOpen() {
        return OPEN.get() != 0 && CURRENT.get() != null;
    }

    /** The graph under construction will keep {@code resource} from being closed. */
    public void touch(NativeObject resource) {
        touched.add(resource);
    }

    /** Everything touched, in the order of first use. */
    public Set<NativeObject> touched() {
        return touched;
    }

    /** {@code action} runs when the capture has ended, whether there is a graph or not. */
    public void whenEnded(Runnable action) {
        ends.add(action);
    }

    /** {@code check} runs when the body of the capture is done; if it throws, there is no graph. */
    public void whenEnding(Runnable check) {
        checks.add(check);
    }

    /** The body of the capture is done. */
    public void finish() {
        checks.forEach(Runnable::run);
    }

    /** {@code undo} runs if there is no graph in the end, after the capture has ended. */
    public void whenDiscarded(Runnable undo) {
        discards.add(undo);
    }

    /** The capture has ended without a graph: what came last is undone first. */
    public void discard() {
        discards.reversed().forEach(Runnable::run);
    }

    /** {@code ending} runs when the graph and all executables made from it are closed. */
    public void whenReleased(Runnable ending) {
        synchronized (endings) {
            endings.add(ending);
        }
    }

    /** One graph or executable more that does what was captured. */
    public synchronized void use() {
        users++;
    }

    /** One graph or executable less; also to be called if there was none. With the last one all of it is released. */
    public void release() {
        synchronized (this) {
            users--;
            if (users > 0) {
                return;
            }
        }
        List<Runnable> last;
        synchronized (endings) {
            last = List.copyOf(endings);
            endings.clear();
        }
        last.forEach(Runnable::run);
    }

    /** {@code check} gets the stream before each launch of the graph; if it throws, there is no launch. */
    public void whenLaunching(Consumer<NativeObject> check) {
        launches.add(check);
    }

    /** The graph is about to be launched on a stream: throws if it must not be. */
    public void launching(NativeObject stream) {
        String reason = invalidated;
        if (reason != null) {
            throw new IllegalStateException("the graph can no longer be launched: " + reason);
        }
        // No iterator, which would be allocated.
        for (int i = 0; i < launches.size(); i++) {
            launches.get(i).accept(stream);
        }
    }

    /** The graph was launched. */
    public void launched() {
        if (!launched) {
            launched = true;
        }
    }

    /** Whether the graph was ever launched, so that what it writes is there for the work enqueued now. */
    public boolean wasLaunched() {
        return launched;
    }

    /** The graph must not be launched any more, because what it points to has moved. */
    public void invalidate(String reason) {
        invalidated = reason;
    }

    /** Whether another thread captures in GLOBAL mode. */
    public static boolean isGlobalElsewhere() {
        return !GLOBAL.isEmpty() && GLOBAL.stream().anyMatch(thread -> thread != Thread.currentThread());
    }

    /**
     * Refuses a call that cannot be part of a capture, before it reaches the library and breaks the capture there: that
     * of this thread, or one in GLOBAL mode of another.
     *
     * @param call the call as the user knows it
     * @param instead what to do about it
     */
    public static void refuse(String call, String instead) {
        if (CURRENT.get() != null) {
            throw new IllegalStateException(call + " cannot be captured into a graph: " + instead);
        }
        if (isGlobalElsewhere()) {
            throw new IllegalStateException(call + " would break a capture in GLOBAL mode by " + GLOBAL
                    + ": wait for its end, or capture in RELAXED mode there");
        }
    }
}
