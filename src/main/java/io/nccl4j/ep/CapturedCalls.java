package io.nccl4j.ep;

import io.nccl4j.internal.CaptureScope;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The calls of a handle in one capture. Each launch of the graph asks whether it may run now, and leaves the handle
 * routed as the graph routes it; as long as nothing in the group has changed since the launch before, that is one
 * compare.
 */
final class CapturedCalls {
    /** A graph that must be launched first. */
    private record Due(CaptureScope capture, Rule rule, String call) {
    }

    private final HandleState handle;
    private final GroupState group;
    private final CaptureScope scope;
    private final List<Due> dues = new ArrayList<>();
    private boolean routes;
    private @Nullable EpTensor routing;
    private long tokens;
    private boolean begins;
    private int seen = -1;

    CapturedCalls(HandleState handle, GroupState group, CaptureScope scope) {
        this.handle = handle;
        this.group = group;
        this.scope = scope;
        scope.whenLaunching(stream -> launching());
    }

    CaptureScope scope() {
        return scope;
    }

    /** A low-latency operation was captured. */
    void begins() {
        begins = true;
    }

    /** A replay will route the handle so, whatever eager calls have made of it since the capture. */
    void routed(@Nullable EpTensor source, long count) {
        routes = true;
        routing = source;
        tokens = count;
    }

    /** The call works on the result of a call in another capture, so that the graph of that must be launched first. */
    void after(@Nullable CaptureScope capture, Rule rule, String call) {
        if (capture != null) {
            dues.add(new Due(capture, rule, call));
        }
    }

    private void launching() {
        if (seen == group.changes()) {
            return;
        }
        if (begins && group.isPending()) {
            Rule.SEND_PENDING.refuseIf(true,
                    "launch of a graph with operations of %s while a send half is pending in its group (%s): "
                            + "complete it first",
                    handle, group);
        }
        // No iterator, which would be allocated.
        for (int i = 0; i < dues.size(); i++) {
            Due due = dues.get(i);
            due.rule.refuseIf(!due.capture.wasLaunched(),
                    "launch of a graph with %s of %s before the graph with the call that it works on was launched",
                    due.call, handle);
        }
        if (routes) {
            handle.replayed(routing, tokens);
        }
        seen = group.changes();
    }
}
