package io.nccl4j.internal;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;

/** JFR: a native call answered with an error. */
@Name("io.nccl4j.Error")
@Label("nccl4j error")
@Description("A call of the CUDA runtime, NCCL or NCCL EP that failed")
@Category("nccl4j")
public final class ErrorEvent extends Event {
    @Label("Function")
    String function = "";

    @Label("Code")
    int code;

    @Label("Text")
    String text = "";

    /** Writes one, if a recording runs. */
    public static void emit(String function, int code, String text) {
        if (FlightRecording.isOn()) {
            ErrorEvent event = new ErrorEvent();
            event.function = function;
            event.code = code;
            event.text = text;
            event.commit();
        }
    }
}
