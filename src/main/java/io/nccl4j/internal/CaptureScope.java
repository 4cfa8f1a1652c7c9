package io.nccl4j.internal;

import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * A stream capture in progress on this thread: what it has touched so far, and the refusal of calls that cannot be captured.
 * Opened and ended by {@code CudaStream.capture}; resources of all packages report to it.
 */
public final class CaptureScope {
    private static final ThreadLocal<@Nullable CaptureScope> CURRENT = new ThreadLocal<>();

    private final Set<NativeResource> touched = new LinkedHashSet<>();

    private final List<Runnable> checks = new ArrayList<>();
    private final List<Runnable> endings = new ArrayList<>();
    private volatile @Nullable String invalidated;

    private CaptureScope() {
    }

    /** Begins the scope of this thread; there may be one at a time. */
    public static CaptureScope begin() {
        if (CURRENT.get() != null) {
            throw new IllegalStateException("a capture is in progress on this thread: captures cannot be nested");
        }
        CaptureScope scope = new CaptureScope();
        CURRENT.set(scope);
        return scope;
    }

    /** Ends the scope of this thread. */
    public void end() {
        CURRENT.remove();
    }

    /** The scope of this thread, if it captures. */
    public static @Nullable CaptureScope current() {
        return CURRENT.get();
    }

    /** The graph under construction will keep {@code resource} from being closed. */
    public void touch(NativeResource resource) {
        touched.add(resource);
    }

    /** Everything touched, in the order of first use. */
    public Set<NativeResource> touched() {
        return touched;
    }

    /** {@code check} runs when the body of the capture is done; if it throws, there is no graph. */
    public void whenEnding(Runnable check) {
        checks.add(check);
    }

    /** The body of the capture is done. */
    public void finish() {
        checks.forEach(Runnable::run);
    }

    /** {@code ending} runs when the graph and all executables made from it are closed. */
    public void whenReleased(Runnable ending) {
        synchronized (endings) {
            endings.add(ending);
        }
    }

    /** The graph and all that was made from it are closed. */
    public void release() {
        List<Runnable> last;
        synchronized (endings) {
            last = List.copyOf(endings);
            endings.clear();
        }
        last.forEach(Runnable::run);
    }

    /** The graph must not be launched any more, because what it points to has moved. */
    public void invalidate(String reason) {
        invalidated = reason;
    }

    /** Why the graph must not be launched any more; null if it may. */
    public @Nullable String invalidated() {
        return invalidated;
    }

    /**
     * Refuses a call that cannot be part of a capture, before it reaches the library and breaks the capture there.
     *
     * @param call the call as the user knows it
     * @param instead what to do about it
     */
    public static void refuse(String call, String instead) {
        if (CURRENT.get() != null) {
            throw new IllegalStateException(call + " cannot be captured into a graph: " + instead);
        }
    }
}
