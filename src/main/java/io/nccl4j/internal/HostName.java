package io.nccl4j.internal;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.io.IOException;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.nio.file.Files;
import java.nio.file.Path;

/** How processes find out that they are on one machine. */
public final class HostName {
    private HostName() {
    }

    /** The host name, which differs between containers, and the kernel's boot, which differs between equal names. */
    public static String ofMachine() {
        return kernel("hostname") + "/" + kernel("random/boot_id");
    }

    /**
     * The host that a device is in, by the name that native libraries know it by. On the emulator several hosts may be
     * one machine, and are told by a number.
     */
    public static String ofDevice(int ordinal) {
        return SymbolLookup.loaderLookup().find("nccl4jEmuHostOf")
                .map(function -> kernel("hostname") + "#" + Out.ofInt(out -> emulated(function, ordinal, out)))
                .orElseGet(() -> kernel("hostname"));
    }

    /** As {@code gethostname}; empty where the kernel has no such file. */
    private static String kernel(String file) {
        try {
            return Files.readString(Path.of("/proc/sys/kernel", file)).strip();
        } catch (IOException e) {
            return "";
        }
    }

    private static void emulated(MemorySegment function, int device, MemorySegment host) {
        try {
            int ignored = (int) Linker.nativeLinker()
                    .downcallHandle(function, FunctionDescriptor.of(JAVA_INT, JAVA_INT, ADDRESS))
                    .invokeExact(device, host);
        } catch (Throwable e) {
            throw HotCalls.unexpected(e);
        }
    }
}
