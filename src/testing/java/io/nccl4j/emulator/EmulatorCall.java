package io.nccl4j.emulator;

import io.nccl4j.bindings.emulator.nccl4jEmuCall_t;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * A call that was made of the emulated CUDA runtime, NCCL or NCCL EP.
 *
 * @param sequence its number, from 1, in the order in which calls returned
 * @param timeNanos when it began, on a monotonic clock
 * @param durationNanos how long it took
 * @param device the calling thread's current device
 * @param rank the rank in the communicator concerned, -1 if there is none
 * @param thread the kernel's number of the calling thread
 * @param result what it returned
 * @param function the C function
 * @param arguments all of them, as {@code name=value name=value}, structs as {@code name={field=value}}; a long list is
 *     cut
 */
public record EmulatorCall(long sequence, long timeNanos, long durationNanos, int device, int rank, int thread,
        int result, String function, String arguments) {

    static EmulatorCall decode(MemorySegment call) {
        return new EmulatorCall(nccl4jEmuCall_t.sequence(call), nccl4jEmuCall_t.time_ns(call),
                nccl4jEmuCall_t.duration_ns(call), nccl4jEmuCall_t.device(call), nccl4jEmuCall_t.rank(call),
                nccl4jEmuCall_t.thread(call), nccl4jEmuCall_t.result(call),
                ControlCalls.text(nccl4jEmuCall_t.function(call)), ControlCalls.text(nccl4jEmuCall_t.arguments(call)));
    }

    /** Whether it returned success, which is 0 in all three libraries. */
    public boolean succeeded() {
        return result == 0;
    }

    /**
     * One argument as text: {@code NULL}, a number, an address in hexadecimal, or a struct without its braces.
     *
     * @param path its name; a field of a struct is {@code name.field}
     * @return null if there is none of that name
     */
    public @Nullable String argument(String path) {
        String text = arguments;
        for (String name : path.split("\\.")) {
            text = find(text, name);
            if (text == null) {
                return null;
            }
        }
        return text;
    }

    private static @Nullable String find(String text, String name) {
        int position = 0;
        while (position < text.length()) {
            int equals = text.indexOf('=', position);
            if (equals < 0) {
                return null;
            }
            int end = endOfValue(text, equals + 1);
            if (text.substring(position, equals).strip().equals(name)) {
                String value = text.substring(equals + 1, end);
                return value.startsWith("{") && value.endsWith("}") ? value.substring(1, value.length() - 1) : value;
            }
            position = end + 1;
        }
        return null;
    }

    /** The next space outside of braces. */
    private static int endOfValue(String text, int start) {
        int depth = 0;
        for (int i = start; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '{') {
                depth++;
            } else if (c == '}') {
                depth--;
            } else if (c == ' ' && depth == 0) {
                return i;
            }
        }
        return text.length();
    }
}
