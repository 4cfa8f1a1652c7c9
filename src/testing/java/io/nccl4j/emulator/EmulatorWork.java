package io.nccl4j.emulator;

import io.nccl4j.bindings.emulator.nccl4jEmuWork_t;
import java.lang.foreign.MemorySegment;

/**
 * Work that a stream has run.
 *
 * @param startNanos when it began, on a monotonic clock
 * @param endNanos when it ended
 * @param stream address of the stream
 * @param device the stream's device
 * @param rank the rank concerned, -1 if there is none
 * @param fromGraph whether a graph launch ran it
 * @param error the {@code cudaError_t} that it ended with
 * @param operation what it was
 */
public record EmulatorWork(long startNanos, long endNanos, long stream, int device, int rank, boolean fromGraph,
        int error, String operation) {
    static EmulatorWork decode(MemorySegment work) {
        return new EmulatorWork(nccl4jEmuWork_t.start_ns(work), nccl4jEmuWork_t.end_ns(work),
                nccl4jEmuWork_t.stream(work), nccl4jEmuWork_t.device(work), nccl4jEmuWork_t.rank(work),
                nccl4jEmuWork_t.from_graph(work) != 0, nccl4jEmuWork_t.error(work),
                ControlCalls.text(nccl4jEmuWork_t.operation(work)));
    }
}
