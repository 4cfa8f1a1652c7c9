package io.nccl4j.internal;

import jdk.jfr.FlightRecorder;
import jdk.jfr.FlightRecorderListener;
import jdk.jfr.Recording;
import jdk.jfr.RecordingState;

/**
 * Whether a JFR recording is running. The hot path asks this before it makes an event object: a disabled event would still be
 * allocated until the code is compiled, and registering event types costs start-up time.
 */
public final class FlightRecording {
    /** Plain on purpose: a step that misses the start of a recording is harmless. */
    private static boolean on;

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

    private FlightRecording() {
    }

    private static void look(FlightRecorder recorder) {
        on = recorder.getRecordings().stream().anyMatch(r -> r.getState() == RecordingState.RUNNING);
        StateChanges.add();
    }

    /** Whether events are worth making. */
    public static boolean isOn() {
        return on;
    }
}
