package io.nccl4j.internal;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.function.Consumer;

/** A value that a C function writes through a pointer, for functions off the hot path. */
public final class Out {
    private Out() {
    }

    /** The {@code int} that {@code call} writes; whether it could, is for {@code call} to check. */
    public static int ofInt(Consumer<MemorySegment> call) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_INT);
            call.accept(out);
            return out.get(JAVA_INT, 0);
        }
    }

    /** The same for a pointer; 0 if none was written. */
    public static long ofAddress(Consumer<MemorySegment> call) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ADDRESS);
            call.accept(out);
            return out.get(ADDRESS, 0).address();
        }
    }
}
