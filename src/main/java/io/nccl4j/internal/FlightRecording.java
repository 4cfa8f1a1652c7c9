package io.nccl4j.internal;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.FlightRecorder;
import jdk.jfr.FlightRecorderListener;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.Recording;
import jdk.jfr.RecordingState;
import jdk.jfr.StackTrace;
import org.jspecify.annotations.Nullable;

/**
 * The events that nccl4j gives to JFR, while a recording runs. The hot path asks for that before it makes an event
 * object: a disabled event would still be allocated until the code is compiled. Nothing of JFR but its entry class is
 * touched before somebody else has started it: the registration of an event type, as soon as its class is initialised,
 * costs much of the start-up time.
 */
public final class FlightRecording {
    private FlightRecording() {
    }

    /** An eager call of the hot path or a graph launch, which begins now; null unless a recording runs. */
    public static @Nullable Call call() {
        if (!isOn()) {
            return null;
        }
        Call event = new Call();
        event.begin();
        return event;
    }

    /** Something with an owner was created, captured or closed. */
    public static void lifecycle(String action, Object object) {
        if (isOn()) {
            Lifecycle event = new Lifecycle();
            event.action = action;
            event.object = object.toString();
            event.commit();
        }
    }

    /** A native call answered with an error. */
    public static void error(String function, int code, String text) {
        if (isOn()) {
            Failure event = new Failure();
            event.function = function;
            event.code = code;
            event.text = text;
            event.commit();
        }
    }

    private static boolean isOn() {
        return FlightRecorder.isInitialized() && Recordings.running;
    }

    /** Follows the recordings; initialised by the first look after JFR was started. */
    private static final class Recordings {
        /** Plain on purpose: a step that misses the start of a recording is harmless. */
        private static boolean running;

        static {
            FlightRecorder.addListener(new FlightRecorderListener() {
                @Override
                public void recorderInitialized(FlightRecorder recorder) {
                    look(recorder);
                }

                @Override
                public void recordingStateChanged(Recording recording) {
                    look(FlightRecorder.getFlightRecorder());
                }
            });
        }

        private static void look(FlightRecorder recorder) {
            running = recorder.getRecordings().stream().anyMatch(r -> r.getState() == RecordingState.RUNNING);
        }
    }

    /** Made by {@link #call}. */
    @Name("io.nccl4j.Call")
    @Label("nccl4j call")
    @Description("Host time of a dispatch, combine, update, complete or graph launch")
    @Category("nccl4j")
    @StackTrace(false)
    public static final class Call extends Event {
        @Label("Function")
        String function = "";

        @Label("Object")
        String object = "";

        @Label("Capturing")
        boolean capturing;

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

    @Name("io.nccl4j.Lifecycle")
    @Label("nccl4j life cycle")
    @Description("Creation, capture and close of groups, handles and graphs")
    @Category("nccl4j")
    private static final class Lifecycle extends Event {
        @Label("Action")
        String action = "";

        @Label("Object")
        String object = "";
    }

    @Name("io.nccl4j.Error")
    @Label("nccl4j error")
    @Description("A call of the CUDA runtime, NCCL or NCCL EP that failed")
    @Category("nccl4j")
    private static final class Failure extends Event {
        @Label("Function")
        String function = "";

        @Label("Code")
        int code;

        @Label("Text")
        String text = "";
    }
}
