package io.nccl4j.internal;

import jdk.jfr.FlightRecorder;
import jdk.jfr.FlightRecorderListener;
import jdk.jfr.Recording;
import jdk.jfr.RecordingState;

/**
 * Whether a JFR recording is running. The hot path asks this before it makes an event object: a disabled event would
 * still be allocated until the code is compiled. Nothing of JFR but its entry class is touched before somebody else has
 * started it, since that and the registration of event types cost much of the start-up time.
 */
public final class FlightRecording {
    private FlightRecording() {
    }

    /** Whether events are worth making. */
    public static boolean isOn() {
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
}
