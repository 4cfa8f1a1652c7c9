package io.nccl4j.internal;

import io.nccl4j.WaitTimeoutException;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * A native call that waits for other ranks and knows no limit, made on a thread of its own so that the caller need not
 * wait for ever. A call that exceeds its limit goes on: there is no safe way to end it.
 */
public final class BoundedCall<T extends @Nullable Object> {
    /** How often it is asked whether the others can still come. */
    private static final long GLANCE_NANOS = 100_000_000;
    /** A call for which all have come may still end after one of them has gone. */
    private static final long GRACE_NANOS = 2_000_000_000;

    private final Supplier<T> body;
    private final Consumer<T> late;
    private final CountDownLatch done = new CountDownLatch(1);
    private T result;
    private @Nullable Throwable failure;

    /** Whether nobody waits for the result any more; or whether it is there. Whichever is first. */
    private final AtomicBoolean decided = new AtomicBoolean();

    private BoundedCall(Supplier<T> body, Consumer<T> late) {
        this.body = body;
        this.late = late;
    }

    /**
     * Makes the call and waits for its end.
     *
     * @param call what it is, for the message
     * @throws WaitTimeoutException if it has not returned before the deadline; an interrupt does not end the wait
     */
    public static <T extends @Nullable Object> T run(String call, Deadline deadline, Supplier<T> body) {
        return run(call, deadline, body, result -> {
        });
    }

    /**
     * The same, but given up two seconds after it has become hopeless.
     *
     * @param hopeless why the call cannot return any more, or null; asked on this thread as long as it waits
     */
    public static <T extends @Nullable Object> T run(String call, Deadline deadline, Supplier<T> body,
            Supplier<@Nullable String> hopeless) {
        return start(call, body, result -> {
        }).await(call, deadline, hopeless);
    }

    /**
     * The same for a call that makes something.
     *
     * @param late is given what the call has made after the limit, when nobody waits for it any more; runs on the
     *     thread of the call
     */
    public static <T extends @Nullable Object> T run(String call, Deadline deadline, Supplier<T> body,
            Consumer<T> late) {
        return start(call, body, late).await(call, deadline, () -> null);
    }

    private static <T extends @Nullable Object> BoundedCall<T> start(String call, Supplier<T> body, Consumer<T> late) {
        BoundedCall<T> bounded = new BoundedCall<>(body, late);
        Thread.ofPlatform().daemon().name(Thread.currentThread().getName() + " in " + call).start(bounded::execute);
        return bounded;
    }

    private void execute() {
        try {
            result = body.get();
            if (!decided.compareAndSet(false, true)) {
                late.accept(result);
            }
        } catch (Throwable e) {
            failure = e;
        } finally {
            done.countDown();
        }
    }

    private T await(String call, Deadline deadline, Supplier<@Nullable String> hopeless) {
        LongWait wait = new LongWait(call + ", which waits for other ranks", deadline);
        String reason = null;
        while (reason == null && !awaitDone(deadline, GLANCE_NANOS) && !deadline.isOver()) {
            wait.goesOn();
            reason = hopeless.get();
        }
        boolean isDone = reason == null ? done.getCount() == 0 : awaitDone(deadline, GRACE_NANOS);
        if (!isDone && decided.compareAndSet(false, true)) {
            throw new WaitTimeoutException(reason != null
                    ? call + " cannot return any more, and goes on in the background: " + reason
                    : call + " has not returned within " + deadline
                            + "; it waits for other ranks and goes on in the background");
        }
        return result();
    }

    /** Ignores the interrupt flag, since other ranks depend on the call, and sets it again afterwards. */
    private boolean awaitDone(Deadline deadline, long most) {
        return Deadline.after(Duration.ofNanos(Math.min(most, deadline.remainingNanos())))
                .await(() -> done.getCount() == 0, nanos -> done.await(nanos, TimeUnit.NANOSECONDS));
    }

    private T result() {
        if (failure != null) {
            throw withCaller(failure);
        }
        return result;
    }

    /** The trace goes on in the caller, as if the call had been made there. */
    private static RuntimeException withCaller(Throwable failure) {
        StackTraceElement[] inner = failure.getStackTrace();
        StackTraceElement[] outer = Thread.currentThread().getStackTrace();
        // The first two are getStackTrace and this method.
        int skipped = Math.min(2, outer.length);
        StackTraceElement[] both = new StackTraceElement[inner.length + outer.length - skipped];
        System.arraycopy(inner, 0, both, 0, inner.length);
        System.arraycopy(outer, skipped, both, inner.length, outer.length - skipped);
        failure.setStackTrace(both);
        if (failure instanceof Error error) {
            throw error;
        }
        return failure instanceof RuntimeException runtime ? runtime : new IllegalStateException(failure);
    }
}
