package io.nccl4j.safety.hostile;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.emulator.Emulator;
import java.lang.foreign.FunctionDescriptor;
import java.nio.charset.StandardCharsets;

/** A kernel that random launches reach: it touches nothing, so that random addresses among its arguments do no harm. */
public final class HostileKernel {
    /** One of the random strings. */
    static final String NAME = "dispatch";
    public static final byte[] IMAGE = ".version 9.0".getBytes(StandardCharsets.US_ASCII);

    private HostileKernel() {
    }

    public static void register() {
        Emulator.kernel(NAME, FunctionDescriptor.ofVoid(ADDRESS, JAVA_INT), launch -> {
        });
    }
}
