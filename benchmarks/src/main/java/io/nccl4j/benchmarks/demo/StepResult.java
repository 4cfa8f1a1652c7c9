package io.nccl4j.benchmarks.demo;

import java.nio.ByteBuffer;
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

    /** The same, every row also compared with that of another run of the step. */
    StepResult comparedWith(StepResult other, String what) {
        Verification all = verification;
        for (int layer = 0; layer < outputs.length; layer++) {
            for (int token = 0; token < outputs[layer].length; token++) {
                all = all.and(other.outputs[layer][token], outputs[layer][token],
                        what + ", layer " + layer + ", token " + token + ", graph and eager");
            }
        }
        for (int zone = 0; zone < received.size(); zone++) {
            all = all.and(bytes(other.received.get(zone)), bytes(received.get(zone)),
                    what + ", received in zone " + zone + ", graph and eager");
        }
        return new StepResult(hostNanos, stepNanos, outputs, received, all);
    }

    private static byte[] bytes(List<ByteBuffer> rows) {
        ByteBuffer all = ByteBuffer.allocate(rows.stream().mapToInt(ByteBuffer::capacity).sum());
        rows.forEach(row -> all.put(row.duplicate()));
        return all.array();
    }
}
