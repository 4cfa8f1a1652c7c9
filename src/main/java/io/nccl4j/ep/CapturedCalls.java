package io.nccl4j.ep;

import io.nccl4j.internal.CaptureScope;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The calls of a group's handles in one capture. Each launch of the graph asks whether it may run now, and leaves the handles routed as
 * the graph routes them; as long as nothing in the group has changed since the launch before, that is one compare.
 */
final class CapturedCalls {
    /** A routing as captured. */
    record Route(@Nullable EpTensor routing, long tokens) {
    }

    /** A graph that must be launched first. */
    private record Due(CaptureScope capture, Rule rule, String call, Object handle) {
    }

    private final GroupState group;
    private final CaptureScope scope;
    private final Map<HandleState, Route> routes = new HashMap<>();
    private final List<Due> dues = new ArrayList<>();
    private boolean begins;
    private int seen = -1;

    CapturedCalls(GroupState group, CaptureScope scope) {
        this.group = group;
        this.scope = scope;
        scope.whenLaunching(this::launching);
    }

    CaptureScope scope() {
        return scope;
    }

    /** A low-latency operation was captured. */
    void begins() {
        begins = true;
    }

    /** A replay will route the handle so, whatever eager calls have made of it since the capture. */
    void routed(HandleState handle, @Nullable EpTensor routing, long tokens) {
        routes.put(handle, new Route(routing, tokens));
    }

    /** The call works on what another capture has, so that the graph of that must be launched first. */
    void after(@Nullable CaptureScope capture, Rule rule, String call, Object handle) {
        if (capture != null) {
            dues.add(new Due(capture, rule, call, handle));
        }
    }

    private void launching() {
        if (seen == group.changes()) {
            return;
        }
        if (begins && group.isPending()) {
            Rule.SEND_PENDING.refuseIf(true,
                    "launch of a graph with operations of a group while a send half is pending in it (%s): "
                            + "complete it first",
                    group);
        }
        for (Due due : dues) {
            due.rule.refuseIf(!due.capture.wasLaunched(),
                    "launch of a graph with %s of %s before the graph with the call that it works on was launched",
                    due.call, due.handle);
        }
        routes.forEach((handle, route) -> handle.replayed(route.routing, route.tokens));
        seen = group.changes();
    }
}
