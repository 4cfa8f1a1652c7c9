package io.nccl4j.internal;

import io.nccl4j.bindings.emulator.EmulatorControl;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;

/**
 * The emulator's knowledge of the error that a device was lost with, for which CUDA has no call: which memory, which
 * kernel.
 */
public final class EmulatorReason {
    private static final long LONGEST = 4096;

    private EmulatorReason() {
    }

    /** The reason; empty on a GPU, or if there is none. */
    public static String of(int device) {
        if (SymbolLookup.loaderLookup().find("nccl4jEmuErrorText").isEmpty()) {
            return "";
        }
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment text = arena.allocate(LONGEST);
            return EmulatorControl.nccl4jEmuErrorText(device, text, LONGEST) == 0 ? text.getString(0) : "";
        }
    }
}
