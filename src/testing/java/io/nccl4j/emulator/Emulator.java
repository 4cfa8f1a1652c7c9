package io.nccl4j.emulator;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraries;
import io.nccl4j.bindings.emulator.EmulatorControl;
import io.nccl4j.bindings.emulator.nccl4jEmuCall_t;
import io.nccl4j.bindings.emulator.nccl4jEmuMisuse_t;
import io.nccl4j.bindings.emulator.nccl4jEmuUsage_t;
import io.nccl4j.bindings.emulator.nccl4jEmuWork_t;
import io.nccl4j.cuda.CudaDevice;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/**
 * The emulator's controls. Everything here is global to the process, may be called from any thread, and needs the
 * emulator as the backend: {@link #use()} switches it on.
 */
public final class Emulator {
    private static final int ALL_DEVICES = -1;
    private static final int LONGEST_TEXT = 4096;
    private static final Set<String> VARIABLES = ConcurrentHashMap.newKeySet();
    private static volatile @Nullable EmulatorOptions options;
    private static volatile int timelineCapacity;

    private Emulator() {
    }

    /**
     * Makes the emulator the backend of this JVM and loads it.
     *
     * @throws IllegalStateException if the real libraries are loaded already
     * @throws io.nccl4j.NativeLibraryException if it is not there or does not run on this machine
     */
    public static void use() {
        NativeLibraries.use(Backend.EMULATOR);
        ControlCalls.ready();
    }

    /** Whether it is the backend. */
    public static boolean isInUse() {
        return NativeLibraries.backend() == Backend.EMULATOR;
    }

    /** Its options, to read and change. */
    public static EmulatorOptions options() {
        ControlCalls.ready();
        EmulatorOptions known = options;
        if (known == null) {
            synchronized (Emulator.class) {
                known = options;
                if (known == null) {
                    known = new EmulatorOptions();
                    options = known;
                }
            }
        }
        return known;
    }

    /**
     * Sets an environment variable of the library inside the emulator only, such as {@code NCCL_EP_...}.
     *
     * @param value null: as in the process's environment
     */
    public static void environment(String name, @Nullable String value) {
        ControlCalls.ready();
        try (Arena arena = Arena.ofConfined()) {
            ControlCalls.check(EmulatorControl.nccl4jEmuSetEnvironment(arena.allocateFrom(name),
                    ControlCalls.string(arena, value)), "environment " + name + "=" + value);
        }
        VARIABLES.add(name);
    }

    /**
     * Makes a Java function a kernel: {@link io.nccl4j.cuda.CudaModule}s have it under this name. A name may be
     * registered anew; kernels that were asked for before stay what they are.
     *
     * <pre>{@code
     * Emulator.kernel("scale", FunctionDescriptor.ofVoid(ADDRESS, JAVA_FLOAT, JAVA_INT), launch -> {
     *     MemorySegment x = launch.memory(0, JAVA_FLOAT, launch.getInt(2));
     *     for (int i = 0; i < launch.getInt(2); i++) {
     *         x.setAtIndex(JAVA_FLOAT, i, x.getAtIndex(JAVA_FLOAT, i) * launch.getFloat(1));
     *     }
     * });
     * }</pre>
     *
     * @param name as CUDA code asks for it
     * @param signature its parameters, with the sizes that those of the CUDA kernel have
     * @param implementation runs at each launch and at each replay
     */
    public static void kernel(String name, FunctionDescriptor signature, KernelImplementation implementation) {
        ControlCalls.ready();
        KernelCalls.register(KernelCalls.Registered.of(name, signature, implementation));
    }

    /**
     * Back to the state after loading: options, environment, presets, faults, no logs, waits that work. What is alive
     * stays, and so do kernels.
     */
    public static void reset() {
        clearPresets();
        clearFaults();
        allowWaits();
        logCalls(0);
        recordTimeline(0);
        for (String name : VARIABLES) {
            environment(name, null);
        }
        VARIABLES.clear();
        options().reset();
    }

    /** Keeps the newest {@code capacity} calls from now on; 0 ends that. What was kept before is dropped. */
    public static void logCalls(int capacity) {
        ControlCalls.ready();
        ControlCalls.check(EmulatorControl.nccl4jEmuCallLog(notNegative(capacity)), "call log of " + capacity);
    }

    private static int notNegative(int capacity) {
        if (capacity < 0) {
            throw new IllegalArgumentException("capacity is " + capacity + ": must be at least 0");
        }
        return capacity;
    }

    /** The calls that were kept, oldest first. */
    public static List<EmulatorCall> calls() {
        return calls(0);
    }

    /** The calls that were kept with a number of {@code from} or more, oldest first. */
    public static List<EmulatorCall> calls(long from) {
        return ControlCalls.readAll(from, nccl4jEmuCall_t.layout(), EmulatorControl::nccl4jEmuCalls,
                EmulatorCall::decode, EmulatorCall::sequence);
    }

    /** How often a C function was called since the emulator was loaded, logged or not. */
    public static long callCount(String function) {
        ControlCalls.ready();
        try (Arena arena = Arena.ofConfined()) {
            return EmulatorControl.nccl4jEmuCallCount(arena.allocateFrom(function));
        }
    }

    /** How many calls were made since the emulator was loaded, logged or not. */
    public static long callCount() {
        ControlCalls.ready();
        return EmulatorControl.nccl4jEmuCallCount(MemorySegment.NULL);
    }

    /**
     * The next call of {@code function} returns {@code result} and does nothing else.
     *
     * @param function a C function of the emulated libraries
     * @param result a code of that library
     */
    public static void presetResult(String function, int result) {
        presetResult(function, result, 0, 1);
    }

    /**
     * After {@code skip} further calls of {@code function}, the next {@code times} return {@code result} and do
     * nothing else.
     */
    public static void presetResult(String function, int result, long skip, long times) {
        if (skip < 0 || times < 1) {
            throw new IllegalArgumentException("skip " + skip + ", times " + times + ": must be at least 0 and 1");
        }
        ControlCalls.ready();
        try (Arena arena = Arena.ofConfined()) {
            ControlCalls.check(EmulatorControl.nccl4jEmuPresetResult(arena.allocateFrom(function), result, skip, times),
                    "preset result of " + function);
        }
    }

    /** Forgets the presets that are left. */
    public static void clearPresets() {
        ControlCalls.ready();
        ControlCalls.check(EmulatorControl.nccl4jEmuClearPresets(), "clear presets");
    }

    /**
     * Keeps the newest {@code capacity} pieces of executed work from now on; 0 ends that. What was kept before is
     * dropped.
     */
    public static void recordTimeline(int capacity) {
        ControlCalls.ready();
        timelineCapacity = notNegative(capacity);
        ControlCalls.check(EmulatorControl.nccl4jEmuTimeline(capacity), "timeline of " + capacity);
    }

    /** The executed work that was kept, oldest first. */
    public static List<EmulatorWork> timeline() {
        ControlCalls.ready();
        int capacity = timelineCapacity;
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment work = arena.allocate(nccl4jEmuWork_t.layout(), capacity);
            long count = EmulatorControl.nccl4jEmuWork(0, work, capacity);
            return work.asSlice(0, count * nccl4jEmuWork_t.sizeof()).elements(nccl4jEmuWork_t.layout())
                    .map(EmulatorWork::decode).toList();
        }
    }

    /**
     * Lets something go wrong.
     *
     * @throws IllegalArgumentException if the emulator refuses a number in it
     */
    public static void inject(Fault fault) {
        ControlCalls.ready();
        FaultCalls.inject(fault);
    }

    /** Forgets the faults that have not happened and ends those that last. */
    public static void clearFaults() {
        ControlCalls.ready();
        ControlCalls.check(EmulatorControl.nccl4jEmuClearFaults(), "clear faults");
    }

    /** Ends every wait among ranks in this process, those that come as well, until {@link #allowWaits()}. */
    public static void breakWaits(String reason) {
        ControlCalls.ready();
        try (Arena arena = Arena.ofConfined()) {
            ControlCalls.check(EmulatorControl.nccl4jEmuBreakWaits(arena.allocateFrom(reason)), "break waits");
        }
    }

    /** Waits among ranks work again after {@link #breakWaits}. */
    public static void allowWaits() {
        ControlCalls.ready();
        ControlCalls.check(EmulatorControl.nccl4jEmuBreakWaits(MemorySegment.NULL), "allow waits");
    }

    /** Misuse that {@link MisuseMode#REPORT} has recorded since the emulator was loaded, oldest first. */
    public static List<EmulatorMisuse> misuses() {
        return misuses(1);
    }

    /** Recorded misuse with a number of {@code from} or more, oldest first. */
    public static List<EmulatorMisuse> misuses(long from) {
        return ControlCalls.readAll(from, nccl4jEmuMisuse_t.layout(), EmulatorControl::nccl4jEmuMisuses,
                EmulatorMisuse::decode, EmulatorMisuse::sequence);
    }

    /** Counts of live objects on all devices of this process. */
    public static EmulatorUsage usage() {
        return usage(ALL_DEVICES);
    }

    /** Counts of live objects on one device. */
    public static EmulatorUsage usage(CudaDevice device) {
        return usage(device.ordinal());
    }

    private static EmulatorUsage usage(int device) {
        ControlCalls.ready();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment usage = nccl4jEmuUsage_t.allocate(arena);
            ControlCalls.check(EmulatorControl.nccl4jEmuUsage(device, usage), "usage of device " + device);
            return EmulatorUsage.decode(usage);
        }
    }

    /** Describes what is or was at an address: the allocation, its age, who freed it. */
    public static String describeAddress(long address) {
        ControlCalls.ready();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment text = arena.allocate(LONGEST_TEXT);
            ControlCalls.check(
                    EmulatorControl.nccl4jEmuDescribeAddress(MemorySegment.ofAddress(address), text, LONGEST_TEXT),
                    "description of an address");
            return text.getString(0);
        }
    }

    /** The reason of the error that a device was lost with; empty if it works. */
    public static String errorText(CudaDevice device) {
        ControlCalls.ready();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment text = arena.allocate(LONGEST_TEXT);
            ControlCalls.check(EmulatorControl.nccl4jEmuErrorText(device.ordinal(), text, LONGEST_TEXT),
                    "error of " + device);
            return text.getString(0);
        }
    }
}
