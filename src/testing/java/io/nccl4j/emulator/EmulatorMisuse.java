package io.nccl4j.emulator;

import io.nccl4j.bindings.emulator.nccl4jEmuMisuse_t;
import java.lang.foreign.MemorySegment;

/**
 * A use of NCCL EP that would have ended the process or lost the device, recorded in {@link MisuseMode#REPORT}.
 *
 * @param sequence its number, from 1
 * @param end what the real library would have done
 * @param rank the rank concerned, -1 if there is none
 * @param device the device concerned
 * @param function the C function
 * @param text what was wrong
 */
public record EmulatorMisuse(long sequence, ProcessEnd end, int rank, int device, String function, String text) {
    static EmulatorMisuse decode(MemorySegment misuse) {
        return new EmulatorMisuse(nccl4jEmuMisuse_t.sequence(misuse), ProcessEnd.of(nccl4jEmuMisuse_t.end(misuse)),
                nccl4jEmuMisuse_t.rank(misuse), nccl4jEmuMisuse_t.device(misuse),
                ControlCalls.text(nccl4jEmuMisuse_t.function(misuse)),
                ControlCalls.text(nccl4jEmuMisuse_t.text(misuse)));
    }

    @Override
    public String toString() {
        return function + " on rank " + rank + ", device " + device + " (" + end + "): " + text;
    }
}
