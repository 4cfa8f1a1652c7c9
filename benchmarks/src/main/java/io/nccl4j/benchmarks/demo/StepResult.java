package io.nccl4j.benchmarks.demo;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;

/**
 * The result of a step on a rank.
 *
 * @param hostNanos time that the calling thread was busy making calls
 * @param stepNanos time from the first call until all work was done
 * @param outputs {@code [layer][token]}: the rows that came out of each layer
 * @param received rows in use of the last layer, by zone
 * @param verification of the outputs
 */
@SuppressWarnings("ArrayRecordComponent")
record StepResult(long hostNanos, long stepNanos, byte[][][] outputs, List<List<ByteBuffer>> received,
        Verification verification) {

    /** The same, also compared with another run of the step: rows of all layers, received rows of the last. */
    StepResult comparedWith(StepResult other, String what) {
        boolean same = Arrays.deepEquals(outputs, other.outputs) && received.equals(other.received);
        return same
                ? this
                : new StepResult(hostNanos, stepNanos, outputs, received,
                        verification.plus(new Verification(0, 1, 0, List.of(what + ": graph and eager differ"))));
    }
}
