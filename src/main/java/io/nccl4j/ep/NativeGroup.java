package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.ADDRESS;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.DeviceChanges;
import io.nccl4j.internal.HotCalls;
import io.nccl4j.internal.LibraryLoader;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.CommunicatorProperties;
import io.nccl4j.nccl.NcclException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * The native side of a new group, with what was found out to create it.
 *
 * @param address {@code ncclEpGroup_t}
 * @param shape of the group
 * @param hooks of the caller's allocator, if there is one
 * @param arena of the structs that the library keeps
 */
record NativeGroup(long address, GroupShape shape, @Nullable AllocatorHooks hooks, Arena arena) {
    /** Above what was measured on an H200: 38 MiB with the first group of a process, 1 to 9 MiB with later ones. */
    private static final long DRIVER_BYTES = 48L << 20;

    /** Checks all that can be known, on all ranks together, then calls {@code ncclEpCreateGroup}. */
    static NativeGroup create(Communicator communicator, EpGroupConfig config) {
        LibraryLoader.loadNcclEp();
        EpGeneration generation = EpGeneration.ofLibrary();
        Preflight.check();
        CudaDevice device = communicator.device();
        CommunicatorProperties properties = communicator.properties();
        GroupShape shape = GroupShape.of(config, properties.ranks(), Math.max(1, properties.lsaTeams()),
                DeviceLimits.of(device));
        checkConfig(shape, properties, generation);
        HotCalls.linkEp();
        Deadline deadline = Deadline.after(communicator.limit());
        checkHosts(shape, communicator, deadline);
        EpAllocator allocator = config.allocator();
        boolean ownAllocator = allocator != null || config.allocateFunction() != 0;
        MemoryRequest
                .of(communicator, new EpSizing(shape).groupBytes() - (ownAllocator ? EpSizing.WORKSPACE_BYTES : 0),
                        DRIVER_BYTES, shape.common())
                .checkOnAllRanks(communicator, "EpGroup.create", deadline.remaining());
        Arena arena = Arena.ofShared();
        AllocatorHooks hooks = allocator == null
                ? null
                : new AllocatorHooks(allocator, DeviceChanges.of(device.ordinal()));
        MemorySegment struct = GroupStruct.encode(shape, hooks, arena);
        // The thread leaves here with the device that the library's own call would have left.
        device.makeCurrent();
        return new NativeGroup(call(communicator, struct, arena, deadline), shape, hooks, arena);
    }

    private static void checkConfig(GroupShape shape, CommunicatorProperties properties, EpGeneration generation) {
        EpGroupConfig config = shape.config();
        GroupRules.checkConfig(config);
        Violations violations = new Violations();
        GroupRules.checkGroup(shape, generation, violations);
        TeamRules.check(shape, properties, generation, violations);
        Layout layout = config.layout();
        if (layout != null && config.topK() > 0 && config.experts() % shape.ranks() == 0) {
            HandleRules.checkShape(new HandleShape(shape, layout, config.topK(), 0), violations);
        }
        violations.refuse();
    }

    /** Several teams: the ranks compare their hosts, and all come to the same answer. Mixed ranks cannot. */
    private static void checkHosts(GroupShape shape, Communicator communicator, Deadline deadline) {
        if (shape.hasSeveralTeams()) {
            RankHosts hosts = RankHosts.of(communicator, deadline.remaining());
            Violations violations = new Violations();
            if (hosts.names().size() == communicator.size()) {
                TeamRules.checkHosts(shape, hosts, violations);
            }
            violations.refuse();
        }
    }

    private static long call(Communicator communicator, MemorySegment config, Arena arena, Deadline deadline) {
        try {
            return communicator.callCollectively("ncclEpCreateGroup", deadline.remaining(), () -> {
                MemorySegment out = arena.allocate(ADDRESS);
                communicator.check("ncclEpCreateGroup",
                        NcclEp.ncclEpCreateGroup(out, MemorySegment.ofAddress(communicator.address()), config));
                return out.get(ADDRESS, 0).address();
            });
        } catch (NcclException e) {
            // When the limit is reached instead, the call goes on and needs what is in the arena.
            arena.close();
            throw e;
        }
    }
}
