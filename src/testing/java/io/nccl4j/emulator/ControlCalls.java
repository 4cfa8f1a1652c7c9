package io.nccl4j.emulator;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraries;
import io.nccl4j.bindings.emulator.EmulatorControl;
import java.lang.foreign.Arena;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * How the emulator's control interface is called: the backend is checked first, codes become exceptions, records
 * become Java's.
 */
final class ControlCalls {
    private static final int BATCH = 256;
    private static volatile boolean checked;

    /** Reads records from number {@code from} on into memory for {@code capacity} of them; returns how many. */
    @FunctionalInterface
    interface Reader {
        long read(long from, MemorySegment records, long capacity);
    }

    private ControlCalls() {
    }

    /** Refuses to call what only the emulator has. */
    static void ready() {
        if (checked) {
            return;
        }
        NativeLibraries.load();
        if (NativeLibraries.backend() != Backend.EMULATOR) {
            throw new IllegalStateException(
                    "the real libraries are in use: call Emulator.use() before the first use of nccl4j, or "
                            + "start the JVM with -Dnccl4j.backend=emulator");
        }
        int version = interfaceVersion();
        if (version != EmulatorControl.NCCL4J_EMU_INTERFACE()) {
            throw new IllegalStateException("this version of nccl4j needs interface "
                    + EmulatorControl.NCCL4J_EMU_INTERFACE() + " of the emulator, and the library has interface "
                    + version + ":\n" + NativeLibraries.describe());
        }
        checked = true;
    }

    private static int interfaceVersion() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment version = arena.allocate(JAVA_INT);
            return EmulatorControl.nccl4jEmuInterface(version) == EmulatorControl.NCCL4J_EMU_OK()
                    ? version.get(JAVA_INT, 0)
                    : 0;
        }
    }

    /** @param what the call with its arguments, for the message */
    static void check(int code, String what) {
        if (code == EmulatorControl.NCCL4J_EMU_OK()) {
            return;
        }
        if (code == EmulatorControl.NCCL4J_EMU_UNKNOWN_NAME()) {
            throw new IllegalArgumentException("the emulator does not know the name in " + what);
        }
        if (code == EmulatorControl.NCCL4J_EMU_BAD_VALUE()) {
            throw new IllegalArgumentException("the emulator refuses the value in " + what);
        }
        if (code == EmulatorControl.NCCL4J_EMU_TOO_LATE()) {
            throw new IllegalStateException("the emulator can no longer do that, because CUDA is in use: " + what);
        }
        throw new IllegalStateException(what + " failed with code " + code);
    }

    static MemorySegment string(Arena arena, @Nullable String text) {
        return text == null ? MemorySegment.NULL : arena.allocateFrom(text);
    }

    /** A fixed-size field of a record. */
    static String text(MemorySegment field) {
        byte[] bytes = field.toArray(JAVA_BYTE);
        int length = 0;
        while (length < bytes.length && bytes[length] != 0) {
            length++;
        }
        return new String(bytes, 0, length, StandardCharsets.UTF_8);
    }

    /**
     * All records with numbers from {@code from} on. The first field of each is its number unless they are read by
     * position.
     */
    static <T> List<T> readAll(long from, MemoryLayout layout, Reader reader, Function<MemorySegment, T> decode,
            Function<T, Long> number) {
        ready();
        List<T> all = new ArrayList<>();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment batch = arena.allocate(layout, BATCH);
            long next = from;
            while (true) {
                long count = reader.read(next, batch, BATCH);
                for (long i = 0; i < count; i++) {
                    all.add(decode.apply(batch.asSlice(i * layout.byteSize(), layout.byteSize())));
                }
                if (count < BATCH) {
                    return all;
                }
                next = number.apply(all.getLast()) + 1;
            }
        }
    }
}
