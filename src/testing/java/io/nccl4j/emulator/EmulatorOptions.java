package io.nccl4j.emulator;

import io.nccl4j.bindings.emulator.EmulatorControl;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Options of the emulator, obtained by {@link Emulator#options()}. They are global and take effect at once. Before the
 * first change they are as the environment variables {@code NCCL4J_EMU_<NAME>} say.
 */
public final class EmulatorOptions {
    private static final int LONGEST_VALUE = 64;
    private static final String[] NAMES = {"misuse", "poison", "shuffle", "api", "compute_capability", "devices",
            "device_memory", "sms", "shared_devices", "wait_limit_ms", "host_devices", "built_nccl"};

    private final Map<String, String> initial = new LinkedHashMap<>();

    EmulatorOptions() {
        for (String name : NAMES) {
            initial.put(name, get(name));
        }
    }

    /** The answer where the real library would end the process ({@code misuse}). */
    public EmulatorOptions misuse(MisuseMode mode) {
        return set("misuse", mode == MisuseMode.REPORT ? "report" : "abort");
    }

    /** Whether new and freed memory is filled with a pattern instead of zeros ({@code poison}). */
    public EmulatorOptions poison(boolean on) {
        return set("poison", on ? "1" : "0");
    }

    /**
     * Permutes the order that the real library leaves open ({@code shuffle}); the same way for the same seed, 0 not
     * at all.
     */
    public EmulatorOptions shuffle(long seed) {
        return set("shuffle", Long.toUnsignedString(seed));
    }

    /**
     * Generation of NCCL EP ({@code api}). nccl4j looks at it once, when it makes the first EP group of the process.
     */
    public EmulatorOptions api(EpApi api) {
        return set("api", api.value());
    }

    /** Compute capability of all devices, 90 or 100 ({@code compute_capability}). */
    public EmulatorOptions computeCapability(int value) {
        return set("compute_capability", Integer.toString(value));
    }

    /**
     * Number of devices, 1 to 64 ({@code devices}).
     *
     * @throws IllegalStateException after the first CUDA call, unless it stays the same
     */
    public EmulatorOptions devices(int count) {
        return set("devices", Integer.toString(count));
    }

    /** Memory of each device in bytes ({@code device_memory}). */
    public EmulatorOptions deviceMemory(long bytes) {
        return set("device_memory", Long.toString(bytes));
    }

    /** Multiprocessors of each device ({@code sms}). */
    public EmulatorOptions multiprocessors(int count) {
        return set("sms", Integer.toString(count));
    }

    /** Whether two ranks of a communicator may be on one device ({@code shared_devices}). */
    public EmulatorOptions sharedDevices(boolean allowed) {
        return set("shared_devices", allowed ? "1" : "0");
    }

    /**
     * Devices of each emulated host, 0 for all in one ({@code host_devices}). Ranks on different hosts are in different
     * LSA teams. Read when a communicator is made.
     */
    public EmulatorOptions devicesPerHost(int count) {
        return set("host_devices", Integer.toString(count));
    }

    /**
     * Version code of the NCCL that NCCL EP was built with, such as 23102 for 2.31.2 ({@code built_nccl}). Release
     * 0.2.0 compares it with that which runs, 2.30.7.
     */
    public EmulatorOptions builtWithNccl(int version) {
        return set("built_nccl", Integer.toString(version));
    }

    /** End of every wait among ranks that the real library would never end ({@code wait_limit_ms}); zero for none. */
    public EmulatorOptions waitLimit(Duration limit) {
        return set("wait_limit_ms", Long.toString(limit.toMillis()));
    }

    /**
     * The present value of an option, as its environment variable would have it.
     *
     * @param name as in the environment variable, in lower case
     */
    public String get(String name) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment value = arena.allocate(LONGEST_VALUE);
            ControlCalls.check(EmulatorControl.nccl4jEmuGetOption(arena.allocateFrom(name), value, LONGEST_VALUE),
                    "option " + name);
            return value.getString(0);
        }
    }

    /** Back to what the environment variables said when the emulator was loaded. */
    public void reset() {
        initial.forEach(this::set);
    }

    private EmulatorOptions set(String name, String value) {
        try (Arena arena = Arena.ofConfined()) {
            ControlCalls.check(EmulatorControl.nccl4jEmuSetOption(arena.allocateFrom(name), arena.allocateFrom(value)),
                    "option " + name + "=" + value);
            return this;
        }
    }
}
