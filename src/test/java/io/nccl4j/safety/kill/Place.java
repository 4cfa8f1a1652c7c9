package io.nccl4j.safety.kill;

import java.time.Duration;

/** A part of a rank's life. */
enum Place {
    BOOTSTRAP(400),
    /** Communicator, group, buffers, graph. */
    INIT(400), STEPS(800), BARRIER(50), CLOSE(40);

    /** A signal comes so long after the beginning of a place at most: about as long as it takes. */
    private final int milliseconds;

    Place(int milliseconds) {
        this.milliseconds = milliseconds;
    }

    Duration longest() {
        return Duration.ofMillis(milliseconds);
    }
}
