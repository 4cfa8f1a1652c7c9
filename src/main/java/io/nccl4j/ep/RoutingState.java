package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.internal.StateChanges;
import org.jspecify.annotations.Nullable;

/**
 * Which routing the next call of a handle works with: dispatch with that of the last update, combine with that of the last dispatch; and
 * whether those will have run by then.
 */
final class RoutingState {
    private static final long NEVER = -1;

    private final EpHandle handle;
    private final SendState send;
    private final CapturedOperations captured;
    private final boolean lowLatency;
    private final Executed update = new Executed();
    private final Executed dispatch = new Executed();
    private long tokens = NEVER;
    private @Nullable EpTensor routing;
    private long dispatchedTokens = NEVER;
    private @Nullable EpTensor dispatchedRouting;
    private long dispatchedRows;

    RoutingState(EpHandle handle, SendState send, CapturedOperations captured, boolean lowLatency) {
        this.handle = handle;
        this.send = send;
        this.captured = captured;
        this.lowLatency = lowLatency;
    }

    /** T of the last update; -1 if there is none that counts. */
    long tokens() {
        return tokens;
    }

    /** Of the last update. */
    @Nullable
    EpTensor routing() {
        return routing;
    }

    /** Rows that the outputs of the last dispatch had room for. */
    long dispatchedRows() {
        return dispatchedRows;
    }

    void updated(EpTensor topkIdx, CudaStream stream) {
        route(topkIdx, topkIdx.rows());
        update.enqueued(stream);
    }

    /** An update has failed. */
    void lose() {
        route(null, NEVER);
    }

    private void route(@Nullable EpTensor topkIdx, long count) {
        if (captured.exist() && tokens != count) {
            StateChanges.add();
        }
        tokens = count;
        routing = topkIdx;
        handle.forgetCalls();
    }

    void dispatched(CudaStream stream, long rows) {
        dispatch.enqueued(stream);
        if (captured.exist() && (dispatchedTokens != tokens || dispatchedRouting != routing)) {
            StateChanges.add();
        }
        dispatchedTokens = tokens;
        dispatchedRouting = routing;
        dispatchedRows = rows;
    }

    /**
     * A graph is about to be launched whose last captured update, or low latency dispatch, had this routing: the state on the device will
     * be that, and eager calls that were made for another one must not use it.
     */
    void replayed(@Nullable EpTensor source, long count) {
        if (!lowLatency) {
            if (count != tokens && tokens != NEVER) {
                route(null, NEVER);
            }
        } else if (dispatchedTokens != count || dispatchedRouting != source) {
            dispatchedTokens = count;
            dispatchedRouting = source;
            StateChanges.add();
        }
    }

    /** T of the last update. The library would take it from the tensor if there was none, and read maps that nobody wrote. */
    long tokensFor(String call, EpTensor rows) {
        Rule.UPDATED.require(tokens != NEVER,
                "%s of %s before its first update, or after a graph has updated it for another number of tokens: update again",
                call, handle);
        return tokens == NEVER ? rows.rows() : tokens;
    }

    void checkDispatch(CudaStream stream) {
        if (lowLatency ? !canBegin() : !update.isBefore(stream)) {
            checkBegin("dispatch", stream);
        }
        if (stream.isCapturing()) {
            captured.after(update, Rule.UPDATED, "dispatch");
        }
    }

    void checkCombine(CudaStream stream) {
        if (lowLatency && (tokens != dispatchedTokens || routing != dispatchedRouting)) {
            Rule.DISPATCHED.require(dispatchedTokens == NEVER,
                    "combine of %s with a routing of %d tokens that was not dispatched: the last dispatch had another one, of %d",
                    handle, tokens, dispatchedTokens);
        }
        if (lowLatency ? !dispatch.isBefore(stream) || !canBegin() : !update.isBefore(stream)) {
            Rule.DISPATCHED.require(!lowLatency || dispatch.isBefore(stream),
                    "combine of %s before its first dispatch, or before the last one has run; one that was captured counts when the graph is launched",
                    handle);
            checkBegin("combine", stream);
        }
        if (stream.isCapturing()) {
            captured.after(lowLatency ? dispatch : update, Rule.DISPATCHED, "combine");
        }
    }

    /** Low latency: no other operation is half done, and the routing that the device is going to read is still there. */
    private boolean canBegin() {
        EpTensor read = routing;
        return !send.isPending() && read != null && !read.isClosed();
    }

    private void checkBegin(String call, CudaStream stream) {
        Rule.UPDATED.require(lowLatency || update.isBefore(stream),
                "%s of %s before its last update has run: it was captured, and its graph was never launched; update again",
                call, handle);
        Rule.SEND_PENDING.require(!send.isPending(),
                "%s of %s while a send half is pending in its group (%s): complete it first", call, handle, send);
        EpTensor read = routing;
        Rule.UPDATED.require(read == null || !read.isClosed(),
                "%s of %s: the routing of its last update, %s, is gone; update again", call, handle, read);
    }
}
