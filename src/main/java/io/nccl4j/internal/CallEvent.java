package io.nccl4j.internal;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** JFR: an eager call of the hot path or a graph launch. */
@Name("io.nccl4j.Call")
@Label("nccl4j call")
@Description("Host time of a dispatch, combine, update, complete or graph launch")
@Category("nccl4j")
@StackTrace(false)
public final class CallEvent extends Event {
    @Label("Function")
    String function = "";

    @Label("Object")
    String object = "";

    @Label("Capturing")
    boolean capturing;

    /** An event that begins now. */
    public static CallEvent started() {
        CallEvent event = new CallEvent();
        event.begin();
        return event;
    }

    /** Ends and writes the event. */
    public void commit(String called, String on, boolean whileCapturing) {
        end();
        if (shouldCommit()) {
            function = called;
            object = on;
            capturing = whileCapturing;
            commit();
        }
    }
}
