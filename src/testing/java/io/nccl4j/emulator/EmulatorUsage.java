package io.nccl4j.emulator;

import io.nccl4j.bindings.emulator.nccl4jEmuUsage_t;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * Counts of live objects of the emulator.
 *
 * @param deviceAllocations allocations of device memory
 * @param deviceBytes bytes of them
 * @param peakDeviceBytes most bytes that were alive at once
 * @param pinnedAllocations allocations of pinned host memory
 * @param pinnedBytes bytes of them
 * @param streams streams
 * @param events events
 * @param graphs graphs
 * @param graphExecs executable graphs
 * @param communicators NCCL communicators
 * @param windows NCCL windows
 * @param groups EP groups
 * @param handles EP handles
 * @param hostWaits how often a thread has waited for device work since the emulator was loaded
 */
public record EmulatorUsage(long deviceAllocations, long deviceBytes, long peakDeviceBytes, long pinnedAllocations,
        long pinnedBytes, long streams, long events, long graphs, long graphExecs, long communicators, long windows,
        long groups, long handles, long hostWaits) {

    static EmulatorUsage decode(MemorySegment usage) {
        return new EmulatorUsage(nccl4jEmuUsage_t.device_allocations(usage), nccl4jEmuUsage_t.device_bytes(usage),
                nccl4jEmuUsage_t.peak_device_bytes(usage), nccl4jEmuUsage_t.pinned_allocations(usage),
                nccl4jEmuUsage_t.pinned_bytes(usage), nccl4jEmuUsage_t.streams(usage), nccl4jEmuUsage_t.events(usage),
                nccl4jEmuUsage_t.graphs(usage), nccl4jEmuUsage_t.graph_execs(usage),
                nccl4jEmuUsage_t.communicators(usage), nccl4jEmuUsage_t.windows(usage), nccl4jEmuUsage_t.groups(usage),
                nccl4jEmuUsage_t.handles(usage), nccl4jEmuUsage_t.host_waits(usage));
    }

    /**
     * Lists the objects that there are more of than before, such as {@code 2 streams}; empty if nothing leaked in
     * between.
     */
    public List<String> leakedSince(EmulatorUsage before) {
        List<String> leaks = new ArrayList<>();
        add(leaks, deviceAllocations - before.deviceAllocations, "device allocations",
                deviceBytes - before.deviceBytes);
        add(leaks, pinnedAllocations - before.pinnedAllocations, "pinned allocations",
                pinnedBytes - before.pinnedBytes);
        add(leaks, streams - before.streams, "streams");
        add(leaks, events - before.events, "events");
        add(leaks, graphs - before.graphs, "graphs");
        add(leaks, graphExecs - before.graphExecs, "executable graphs");
        add(leaks, communicators - before.communicators, "communicators");
        add(leaks, windows - before.windows, "windows");
        add(leaks, groups - before.groups, "EP groups");
        add(leaks, handles - before.handles, "EP handles");
        return leaks;
    }

    private static void add(List<String> leaks, long count, String what) {
        if (count > 0) {
            leaks.add(count + " " + what);
        }
    }

    private static void add(List<String> leaks, long count, String what, long bytes) {
        if (count > 0) {
            leaks.add(count + " " + what + " (" + bytes + " bytes)");
        }
    }
}
