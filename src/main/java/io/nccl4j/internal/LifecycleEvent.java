package io.nccl4j.internal;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;

/** JFR: something with an owner was created, captured or closed. */
public final class LifecycleEvent {
    private LifecycleEvent() {
    }

    /** Writes one without a duration, if a recording runs. */
    public static void emit(String action, String object) {
        if (FlightRecording.isOn()) {
            Recorded event = new Recorded();
            event.action = action;
            event.object = object;
            event.commit();
        }
    }

    /** The event type: a class of its own, because JFR registers it as soon as it is initialised. */
    @Name("io.nccl4j.Lifecycle")
    @Label("nccl4j life cycle")
    @Description("Creation, capture and close of groups, handles and graphs")
    @Category("nccl4j")
    private static final class Recorded extends Event {
        @Label("Action")
        String action = "";

        @Label("Object")
        String object = "";
    }
}
