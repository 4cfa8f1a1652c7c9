package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.internal.CaptureScope;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The state of a group that decides which operation may come next: the send half that is pending among its handles, of
 * which there can be one, since buffers alternate with every operation and the device traps if another begins; and the
 * routing of each handle. Launches of graphs look at it again when it has changed.
 */
final class GroupState {
    private static final long NONE = -1;

    private final @Nullable SharedStaging staging;
    /** The handle whose send half is pending. */
    private @Nullable Object sender;
    private @Nullable CudaStream stream;
    private @Nullable EpStruct inputs;
    private @Nullable EpStruct outputs;
    private @Nullable LayoutInfo info;
    private @Nullable CaptureScope scope;
    private int changes;

    GroupState(@Nullable SharedStaging staging) {
        this.staging = staging;
    }

    /** @param owner for messages */
    HandleState ofHandle(Object owner, boolean lowLatency) {
        return new HandleState(owner, lowLatency);
    }

    boolean isPending() {
        return sender != null;
    }

    boolean isPendingOf(Object other) {
        return sender == other;
    }

    /** The stream of the send half, which the other half runs on as well. */
    @Nullable
    CudaStream stream() {
        return stream;
    }

    void begin(Object owner, CudaStream on, EpStruct in, EpStruct out, @Nullable LayoutInfo layoutInfo) {
        sender = owner;
        stream = on;
        inputs = in;
        outputs = out;
        info = layoutInfo;
        changes++;
        CaptureScope capture = on.isCapturing() ? CaptureScope.current() : null;
        scope = capture;
        if (capture != null) {
            capture.whenEnding(() -> Rule.SEND_CAPTURE.refuseIf(scope == capture,
                    "%s has captured a send half: complete it in the same capture", owner));
            // Of a capture that fails nothing is ever sent.
            capture.whenDiscarded(() -> {
                if (scope == capture) {
                    end();
                }
            });
        }
    }

    void end() {
        sender = null;
        stream = null;
        inputs = null;
        outputs = null;
        info = null;
        scope = null;
        changes++;
    }

    /** The library reads the descriptors of the send half again. */
    void checkComplete() {
        CaptureScope now = stream != null && stream.isCapturing() ? CaptureScope.current() : null;
        if (now != scope || isLost()) {
            Rule.SEND_CAPTURE.refuseIf(now != scope, "complete %s a capture, but its send half was %s it",
                    now == null ? "outside of" : "in", now == null ? "captured in" : "made outside of");
            Rule.SEND_PENDING.refuseIf(isLost(),
                    "%s cannot be completed: memory of its send half was closed; close the group", sender);
        }
    }

    /** Whether the other half can never be done any more, because memory that it needs was closed. */
    boolean isLost() {
        return inputs != null && inputs.isClosed() || outputs != null && outputs.isClosed()
                || info != null && info.isClosed();
    }

    @Override
    public String toString() {
        return sender == null ? "none" : "of " + sender;
    }

    /**
     * The routing that the next call of a handle works with: dispatch with that of the last update, combine with that
     * of the last dispatch; and whether those will have run by then.
     */
    final class HandleState {
        private final Object handle;
        private final boolean lowLatency;
        private final LastCall update = new LastCall();
        private final LastCall dispatch = new LastCall();
        private long tokens = NONE;
        private @Nullable EpTensor routing;
        private long dispatchedTokens = NONE;
        private @Nullable EpTensor dispatchedRouting;
        private long dispatchedRows;
        private @Nullable CapturedCalls latest;

        private HandleState(Object handle, boolean lowLatency) {
            this.handle = handle;
            this.lowLatency = lowLatency;
        }

        /** T of the last update; -1 if there is none that counts. */
        long tokens() {
            return tokens;
        }

        /** Rows that the outputs of the last dispatch of an eager group had room for. */
        long dispatchedRows() {
            return dispatchedRows;
        }

        void updated(EpTensor topkIdx, CudaStream stream) {
            route(topkIdx, topkIdx.rows());
            update.enqueued(stream);
            if (!lowLatency && stream.isCapturing()) {
                captureRouting();
            }
        }

        /** An update has failed. */
        void lose() {
            route(null, NONE);
        }

        private void route(@Nullable EpTensor topkIdx, long count) {
            if (tokens != count) {
                tokens = count;
                changes++;
            }
            if (routing != topkIdx) {
                routing = topkIdx;
                changes++;
            }
        }

        /** @param rows of the outputs of an eager group */
        void dispatched(CudaStream stream, long rows) {
            dispatchedRows = rows;
            if (lowLatency) {
                dispatch.enqueued(stream);
                dispatchedAs(routing, tokens);
                if (stream.isCapturing()) {
                    captureRouting();
                }
            }
        }

        private CapturedCalls captured() {
            CaptureScope capture = CaptureScope.current();
            if (capture == null) {
                throw new IllegalStateException(handle + ": its stream captures, but not on this thread");
            }
            CapturedCalls calls = latest;
            if (calls == null || calls.scope != capture) {
                calls = new CapturedCalls(capture);
                latest = calls;
            }
            return calls;
        }

        /** A replay will route the handle as it is now, whatever eager calls have made of it since the capture. */
        private void captureRouting() {
            CapturedCalls calls = captured();
            calls.routes = true;
            calls.source = routing;
            calls.count = tokens;
        }

        /**
         * A graph is about to be launched whose last captured update, or low-latency dispatch, had this routing: the
         * state on the device will be that, and eager calls that were made for another one must not use it.
         */
        private void replayed(@Nullable EpTensor source, long count) {
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
                changes++;
            }
            if (dispatchedRouting != source) {
                dispatchedRouting = source;
                changes++;
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
                        "combine of %s with a routing of %d tokens that was not dispatched: the last dispatch had "
                                + "another one, of %d",
                        handle, tokens, dispatchedTokens);
            }
            if (lowLatency ? !dispatch.isBefore(stream) || !canBegin() : !update.isBefore(stream)) {
                Rule.DISPATCHED.refuseIf(lowLatency && !dispatch.isBefore(stream),
                        "combine of %s before its first dispatch, or before the last one has run; one that was "
                                + "captured counts when the graph is launched",
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

        /** The call works on the result of one that may be in another capture. */
        private void capture(String call, LastCall before, Rule rule) {
            CapturedCalls calls = captured();
            CaptureScope due = before.due();
            if (due != null) {
                calls.dues.add(new Due(due, rule, call));
            }
        }

        /**
         * Low latency: no other operation is half done, and the routing that the device is going to read is still
         * there.
         */
        private boolean canBegin() {
            EpTensor read = routing;
            return !isPending() && read != null && !read.isClosed();
        }

        private void refuseToBegin(String call, CudaStream stream) {
            Rule.UPDATED.refuseIf(!lowLatency && !update.isBefore(stream),
                    "%s of %s before its last update has run: it was captured, and its graph was never launched; "
                            + "update again",
                    call, handle);
            Rule.SEND_PENDING.refuseIf(isPending(),
                    "%s of %s while a send half is pending in its group (%s): complete it first", call, handle,
                    GroupState.this);
            EpTensor read = routing;
            Rule.UPDATED.refuseIf(read != null && read.isClosed(),
                    "%s of %s: the routing of its last update, %s, is gone; update again", call, handle, read);
        }

        /**
         * The calls of the handle in one capture. Each launch of the graph asks whether it may run now, and leaves the
         * handle routed as the graph routes it; as long as nothing in the group has changed since the launch before,
         * that is one compare.
         */
        private final class CapturedCalls {
            private final CaptureScope scope;
            private final List<Due> dues = new ArrayList<>();
            private boolean routes;
            private @Nullable EpTensor source;
            private long count;
            private int seen = -1;

            private CapturedCalls(CaptureScope scope) {
                this.scope = scope;
                scope.whenLaunching(stream -> launching());
            }

            private void launching() {
                if (seen == changes) {
                    return;
                }
                if (lowLatency && isPending()) {
                    Rule.SEND_PENDING.refuseIf(true,
                            "launch of a graph with operations of %s while a send half is pending in its group (%s): "
                                    + "complete it first",
                            handle, GroupState.this);
                }
                // No iterator, which would be allocated.
                for (int i = 0; i < dues.size(); i++) {
                    Due due = dues.get(i);
                    due.rule.refuseIf(!due.capture.wasLaunched(),
                            "launch of a graph with %s of %s before the graph with the call that it works on was "
                                    + "launched",
                            due.call, handle);
                }
                if (routes) {
                    replayed(source, count);
                }
                seen = changes;
            }
        }
    }

    /** A graph that must be launched before one whose capture has {@code call}. */
    private record Due(CaptureScope capture, Rule rule, String call) {
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
