package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.internal.CaptureScope;
import org.jspecify.annotations.Nullable;

/**
 * The routing that the next call of a handle works with: dispatch with that of the last update, combine with that of
 * the last dispatch; and whether those will have run by then.
 */
final class HandleState {
    private static final long NONE = -1;

    private final Object handle;
    private final GroupState group;
    private final boolean lowLatency;
    private final @Nullable SharedStaging staging;
    private final LastCall update = new LastCall();
    private final LastCall dispatch = new LastCall();
    private long tokens = NONE;
    private @Nullable EpTensor routing;
    private long dispatchedTokens = NONE;
    private @Nullable EpTensor dispatchedRouting;
    private long dispatchedRows;
    private @Nullable CapturedCalls latest;

    /** @param handle for messages */
    HandleState(Object handle, GroupState group, boolean lowLatency) {
        this.handle = handle;
        this.group = group;
        this.lowLatency = lowLatency;
        this.staging = group.staging();
    }

    /** T of the last update; -1 if there is none that counts. */
    long tokens() {
        return tokens;
    }

    /** Rows that the outputs of the last dispatch had room for. */
    long dispatchedRows() {
        return dispatchedRows;
    }

    void updated(EpTensor topkIdx, CudaStream stream) {
        route(topkIdx, topkIdx.rows());
        update.enqueued(stream);
        if (!lowLatency && stream.isCapturing()) {
            captured().routed(topkIdx, topkIdx.rows());
        }
    }

    /** An update has failed. */
    void lose() {
        route(null, NONE);
    }

    private void route(@Nullable EpTensor topkIdx, long count) {
        if (tokens != count) {
            tokens = count;
            group.change();
        }
        if (routing != topkIdx) {
            routing = topkIdx;
            group.change();
        }
    }

    /** @param rows of the outputs */
    void dispatched(CudaStream stream, long rows) {
        dispatch.enqueued(stream);
        dispatchedAs(routing, tokens);
        dispatchedRows = rows;
        if (lowLatency && stream.isCapturing()) {
            captured().routed(routing, tokens);
        }
    }

    private CapturedCalls captured() {
        CaptureScope capture = CaptureScope.current();
        if (capture == null) {
            throw new IllegalStateException(handle + ": its stream captures, but not on this thread");
        }
        CapturedCalls calls = latest;
        if (calls == null || calls.scope() != capture) {
            calls = new CapturedCalls(this, group, capture);
            latest = calls;
        }
        return calls;
    }

    /**
     * A graph is about to be launched whose last captured update, or low-latency dispatch, had this routing: the state
     * on the device will be that, and eager calls that were made for another one must not use it.
     */
    void replayed(@Nullable EpTensor source, long count) {
        if (!lowLatency) {
            if (count != tokens && tokens != NONE) {
                route(null, NONE);
            }
        } else {
            dispatchedAs(source, count);
        }
    }

    private void dispatchedAs(@Nullable EpTensor source, long count) {
        if (dispatchedTokens != count) {
            dispatchedTokens = count;
            group.change();
        }
        if (dispatchedRouting != source) {
            dispatchedRouting = source;
            group.change();
        }
    }

    /**
     * T of the last update. The library would take it from the tensor if there was none, and read maps that nobody
     * wrote.
     */
    long tokensFor(String call, long rows) {
        Rule.UPDATED.refuseIf(tokens == NONE,
                "%s of %s before its first update, or after a graph has updated it for another number of tokens: "
                        + "update again",
                call, handle);
        return tokens == NONE ? rows : tokens;
    }

    void checkDispatch(CudaStream stream) {
        if (lowLatency ? !canBegin() : !update.isBefore(stream)) {
            refuseToBegin("dispatch", stream);
        }
        if (staging != null) {
            staging.use(handle, stream);
        }
        if (stream.isCapturing()) {
            capture("dispatch", update, Rule.UPDATED);
        }
    }

    void checkCombine(CudaStream stream) {
        if (lowLatency && (tokens != dispatchedTokens || routing != dispatchedRouting)) {
            Rule.DISPATCHED.refuseIf(dispatchedTokens != NONE,
                    "combine of %s with a routing of %d tokens that was not dispatched: the last dispatch had another "
                            + "one, of %d",
                    handle, tokens, dispatchedTokens);
        }
        if (lowLatency ? !dispatch.isBefore(stream) || !canBegin() : !update.isBefore(stream)) {
            Rule.DISPATCHED.refuseIf(lowLatency && !dispatch.isBefore(stream),
                    "combine of %s before its first dispatch, or before the last one has run; one that was captured "
                            + "counts when the graph is launched",
                    handle);
            refuseToBegin("combine", stream);
        }
        if (staging != null) {
            staging.use(handle, stream);
        }
        if (stream.isCapturing()) {
            capture("combine", lowLatency ? dispatch : update, Rule.DISPATCHED);
        }
    }

    private void capture(String call, LastCall before, Rule rule) {
        CapturedCalls calls = captured();
        calls.after(before.due(), rule, call);
        if (lowLatency) {
            calls.begins();
        }
    }

    /**
     * Low latency: no other operation is half done, and the routing that the device is going to read is still there.
     */
    private boolean canBegin() {
        EpTensor read = routing;
        return !group.isPending() && read != null && !read.isClosed();
    }

    private void refuseToBegin(String call, CudaStream stream) {
        Rule.UPDATED.refuseIf(!lowLatency && !update.isBefore(stream),
                "%s of %s before its last update has run: it was captured, and its graph was never launched; "
                        + "update again",
                call, handle);
        Rule.SEND_PENDING.refuseIf(group.isPending(),
                "%s of %s while a send half is pending in its group (%s): complete it first", call, handle, group);
        EpTensor read = routing;
        Rule.UPDATED.refuseIf(read != null && read.isClosed(),
                "%s of %s: the routing of its last update, %s, is gone; update again", call, handle, read);
    }

    @Override
    public String toString() {
        return handle.toString();
    }

    /**
     * Whether the last call of a kind has run, or will have run, before work that is enqueued next. A captured call has
     * not until its graph is launched; but for work that is captured after it, in the same graph or in one that may not
     * be launched before, it will have.
     */
    private static final class LastCall {
        private boolean done;
        private @Nullable CaptureScope captured;

        /** It was enqueued on, or captured from, the stream. */
        void enqueued(CudaStream stream) {
            if (stream.isCapturing()) {
                captured(CaptureScope.current());
            } else if (!done || captured != null) {
                captured = null;
                done = true;
            }
        }

        private void captured(@Nullable CaptureScope capture) {
            captured = capture;
            done = capture == null;
            if (capture != null) {
                capture.whenDiscarded(() -> {
                    if (captured == capture) {
                        captured = null;
                    }
                });
            }
        }

        /** Whether work enqueued now finds it done. */
        boolean isBefore(CudaStream stream) {
            if (!done && captured != null) {
                done = captured.wasLaunched();
                return done || stream.isCapturing();
            }
            return done;
        }

        /** The capture whose graph must be launched before one that is captured now; null if none must. */
        @Nullable
        CaptureScope due() {
            CaptureScope capture = captured;
            return capture == null || capture == CaptureScope.current() || capture.wasLaunched() ? null : capture;
        }
    }
}
