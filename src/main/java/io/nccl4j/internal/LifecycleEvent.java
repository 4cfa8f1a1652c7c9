package io.nccl4j.internal;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;

/** JFR: something with an owner was created, captured or closed. */
@Name("io.nccl4j.Lifecycle")
@Label("nccl4j life cycle")
@Description("Creation, capture and close of groups, handles and graphs")
@Category("nccl4j")
public final class LifecycleEvent extends Event {
    @Label("Action")
    String action = "";

    @Label("Object")
    String object = "";

    /** Writes one without a duration, if a recording runs. */
    public static void emit(String action, String object) {
        if (FlightRecording.isOn()) {
            LifecycleEvent event = new LifecycleEvent();
            event.commit(action, object);
        }
    }

    /** Ends and writes the event. */
    public void commit(String what, String on) {
        end();
        if (shouldCommit()) {
            action = what;
            object = on;
            commit();
        }
    }
}
