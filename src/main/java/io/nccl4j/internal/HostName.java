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

/** The name that native libraries know this host by, {@code gethostname}. */
public final class HostName {
    private static final long LONGEST = 256;

    private HostName() {
    }

    /** The host that a device is in. On the emulator several hosts may be one machine, and are told by a number. */
    public static String of(int device) {
        String name = nameOfMachine();
        Optional<MemorySegment> emulated = SymbolLookup.loaderLookup().find("nccl4jEmuHostOf");
        return emulated.isEmpty() ? name : name + "#" + emulated(emulated.get(), device);
    }

    private static String nameOfMachine() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment text = arena.allocate(LONGEST);
            MemorySegment function = Linker.nativeLinker().defaultLookup().findOrThrow("gethostname");
            int status = (int) Linker.nativeLinker()
                    .downcallHandle(function, FunctionDescriptor.of(JAVA_INT, ADDRESS, JAVA_LONG))
                    .invokeExact(text, LONGEST - 1);
            return status == 0 ? text.getString(0) : "";
        } catch (Throwable e) {
            throw LaunchCalls.unexpected(e);
        }
    }

    private static int emulated(MemorySegment function, int device) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment host = arena.allocate(JAVA_INT);
            int status = (int) Linker.nativeLinker()
                    .downcallHandle(function, FunctionDescriptor.of(JAVA_INT, JAVA_INT, ADDRESS))
                    .invokeExact(device, host);
            return status == 0 ? host.get(JAVA_INT, 0) : 0;
        } catch (Throwable e) {
            throw LaunchCalls.unexpected(e);
        }
    }
}
