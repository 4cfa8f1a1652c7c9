package io.nccl4j.internal;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.util.Optional;

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
        Optional<MemorySegment> function = SymbolLookup.loaderLookup().find("nccl4jEmuErrorText");
        if (function.isEmpty()) {
            return "";
        }
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment text = arena.allocate(LONGEST);
            int status = (int) Linker.nativeLinker()
                    .downcallHandle(function.get(), FunctionDescriptor.of(JAVA_INT, JAVA_INT, ADDRESS, JAVA_LONG))
                    .invokeExact(device, text, LONGEST);
            return status == 0 ? text.getString(0) : "";
        } catch (Throwable e) {
            throw LaunchCalls.unexpected(e);
        }
    }
}
