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
 * @param teams of the communicator's ranks
 * @param limits of the device
 * @param sizing sizes of its buffers
 * @param hooks of the caller's allocator, if there is one
 * @param arena of the structs that the library keeps
 */
record NativeGroup(long address, LsaTeams teams, DeviceLimits limits, EpSizing sizing, @Nullable AllocatorHooks hooks,
        Arena arena) {
    /** Above what was measured on an H200: 38 MiB with the first group of a process, 1 to 9 MiB with later ones. */
    private static final long DRIVER_BYTES = 48L << 20;

    /** Checks all that can be known, on all ranks together, then calls {@code ncclEpCreateGroup}. */
    static NativeGroup create(Communicator communicator, EpGroupConfig config) {
        LibraryLoader.loadNcclEp();
        EpGeneration generation = EpGeneration.ofLibrary();
        Preflight.check();
        CudaDevice device = communicator.device();
        CommunicatorProperties properties = communicator.properties();
        LsaTeams teams = new LsaTeams(properties.ranks(), Math.max(1, properties.lsaTeams()));
        DeviceLimits limits = DeviceLimits.of(device);
        checkConfig(config, teams, properties, limits, generation);
        EpSizing sizing = EpSizing.of(config, teams.ranks(), teams.count());
        HotCalls.linkEp();
        Deadline deadline = Deadline.after(communicator.limit());
        checkHosts(config, teams, communicator, deadline);
        EpAllocator allocator = config.allocator();
        boolean ownAllocator = allocator != null || config.allocateFunction() != 0;
        MemoryRequest
                .of(communicator, sizing.groupBytes() - (ownAllocator ? GroupMemory.WORKSPACE_BYTES : 0), DRIVER_BYTES,
                        config.shape().common(teams))
                .checkOnAllRanks(communicator, "EpGroup.create", deadline.remaining());
        Arena arena = Arena.ofShared();
        AllocatorHooks hooks = allocator == null
                ? null
                : new AllocatorHooks(allocator, DeviceChanges.of(device.ordinal()));
        MemorySegment struct = GroupStruct.encode(config, sizing, hooks, arena);
        // The thread leaves here with the device that the library's own call would have left.
        device.makeCurrent();
        return new NativeGroup(call(communicator, struct, arena, deadline), teams, limits, sizing, hooks, arena);
    }

    private static void checkConfig(EpGroupConfig config, LsaTeams teams, CommunicatorProperties properties,
            DeviceLimits limits, EpGeneration generation) {
        GroupRules.checkConfig(config.shape());
        Violations violations = new Violations();
        GroupRules.checkGroup(config.shape(), teams, limits, generation, violations);
        TeamRules.check(config.shape(), teams, properties, limits, generation, violations);
        Layout layout = config.layout();
        if (layout != null && config.topK() > 0 && config.experts() % teams.ranks() == 0) {
            HandleRules.checkShape(HandleShape.of(config.shape(), teams, layout, config.topK(), 0, limits), violations);
        }
        violations.refuse();
    }

    /** Several teams: the ranks compare their hosts, and all come to the same answer. Mixed ranks cannot. */
    private static void checkHosts(EpGroupConfig config, LsaTeams teams, Communicator communicator, Deadline deadline) {
        if (teams.areSeveral()) {
            Violations violations = new Violations();
            RankHosts hosts = RankHosts.of(communicator, deadline.remaining());
            if (hosts.names().size() == teams.ranks()) {
                TeamRules.checkHosts(config.shape(), teams, hosts, violations);
            }
            violations.refuse();
        }
    }

    private static long call(Communicator communicator, MemorySegment config, Arena arena, Deadline deadline) {
        try {
            return communicator.callCollectively("ncclEpCreateGroup", deadline.remaining(), () -> {
                MemorySegment out = arena.allocate(ADDRESS);
                int status = NcclEp.ncclEpCreateGroup(out, MemorySegment.ofAddress(communicator.address()), config);
                if (status != 0) {
                    throw communicator.failed("ncclEpCreateGroup", status);
                }
                return out.get(ADDRESS, 0).address();
            });
        } catch (NcclException e) {
            // When the limit is reached instead, the call goes on and needs what is in the arena.
            arena.close();
            throw e;
        }
    }
}
