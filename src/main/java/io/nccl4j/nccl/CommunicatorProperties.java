package io.nccl4j.nccl;

import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.bindings.nccl.ncclCommProperties;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * How the ranks of a communicator reach each other, {@code ncclCommProperties_t}. Ranks that address each other's
 * memory are an LSA team; teams are runs of consecutive ranks, all of one size.
 *
 * @param rank this rank
 * @param ranks number of ranks
 * @param cudaDevice ordinal of this rank's device
 * @param nvmlDevice its number among the devices of the machine
 * @param deviceApi whether kernels can use the communicator, which NCCL EP needs
 * @param multimem whether the devices have multicast memory
 * @param gin how kernels reach ranks of other teams
 * @param lsaTeams number of LSA teams
 * @param hostRma whether the host can write to other ranks' windows
 * @param railedGin how kernels reach the ranks that have the same place in other teams
 */
public record CommunicatorProperties(int rank, int ranks, int cudaDevice, int nvmlDevice, boolean deviceApi,
        boolean multimem, GinType gin, int lsaTeams, boolean hostRma, GinType railedGin) {

    /** Memory that NCCL fills. */
    static MemorySegment allocate(Arena arena) {
        MemorySegment struct = arena.allocate(ncclCommProperties.layout());
        ncclCommProperties.size(struct, ncclCommProperties.sizeof());
        ncclCommProperties.magic(struct, Nccl.NCCL_API_MAGIC());
        ncclCommProperties.version(struct, Nccl.NCCL_VERSION_CODE());
        return struct;
    }

    static CommunicatorProperties decode(MemorySegment struct) {
        return new CommunicatorProperties(ncclCommProperties.rank(struct), ncclCommProperties.nRanks(struct),
                ncclCommProperties.cudaDev(struct), ncclCommProperties.nvmlDev(struct),
                ncclCommProperties.deviceApiSupport(struct), ncclCommProperties.multimemSupport(struct),
                GinType.of(ncclCommProperties.ginType(struct)), ncclCommProperties.nLsaTeams(struct),
                ncclCommProperties.hostRmaSupport(struct), GinType.of(ncclCommProperties.railedGinType(struct)));
    }

    /** {@return ranks of an LSA team; 0 if there are no such teams} */
    public int lsaTeamSize() {
        return lsaTeams < 1 ? 0 : ranks / lsaTeams;
    }
}
