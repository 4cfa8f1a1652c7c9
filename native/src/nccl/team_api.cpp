// Teams of ranks and their memory: the host side of NCCL's device interface.
#include <algorithm>
#include <cstring>

#include "base/options.h"
#include "nccl/entry.h"
#include "nccl/state.h"

using namespace emu;

namespace {

// A call that answers with a team; one without ranks where the communicator cannot be used.
template <class Describe, class Body>
ncclTeam_t team(Function& function, Describe&& describe, Body&& body) {
  ncclTeam_t answer{0, 0, 0};
  nccl::entry(function, std::forward<Describe>(describe), [&](Function& call) { answer = body(call); });
  return answer;
}

// describe(topology, rank) of a communicator that can be used.
template <class Describe>
ncclTeam_t teamOf(ncclComm_t comm, const Describe& describe) {
  const nccl::Comm state = nccl::ready(comm);
  return describe(state->topology, state->rank());
}

void properties(ncclComm_t comm, ncclCommProperties_t* out) {
  const nccl::Comm state = nccl::ready(comm);
  if (!given(out)) nccl::fail(ncclInvalidArgument, "props is NULL");
  if (out->magic != NCCL_API_MAGIC || out->size < offsetof(ncclCommProperties_t, rank)) {
    nccl::fail(ncclInvalidArgument, "props was not set up with NCCL_COMM_PROPERTIES_INITIALIZER");
  }
  ncclCommProperties_t all = NCCL_COMM_PROPERTIES_INITIALIZER;
  all.size = out->size;
  all.version = out->version;
  all.rank = state->rank();
  all.nRanks = state->size();
  all.cudaDev = state->device;
  all.nvmlDev = options::machineDevice(state->device);
  all.deviceApiSupport = 1;
  all.ginType = state->topology.gin;
  all.nLsaTeams = state->topology.teams();
  all.railedGinType = state->topology.railedGin;
  memcpy(out, &all, std::min(out->size, sizeof all));
}

// By the peer's number in the communicator, or in this rank's LSA team.
void peerPointer(ncclWindow_t window, size_t offset, int peer, bool inTeam, void** out) {
  std::shared_ptr<const ncclWindow_vidmem> known;
  const auto comm = nccl::ownerOf(window, &known);
  if (comm == nullptr) nccl::fail(ncclInvalidArgument, "window %p is not live", static_cast<void*>(window));
  calls::setRank(comm->rank());
  if (!given(out)) nccl::fail(ncclInvalidArgument, "outPtr is NULL");
  const Topology& topology = comm->topology;
  const int ranks = inTeam ? topology.teamSize : topology.ranks;
  if (peer < 0 || peer >= ranks) {
    nccl::fail(ncclInvalidArgument, "rank %d does not exist, the %s has %d", peer,
               inTeam ? "LSA team" : "communicator", ranks);
  }
  if (inTeam) peer += topology.teamOf(comm->rank()) * topology.teamSize;
  if (offset >= known->bytes) {
    nccl::fail(ncclInvalidArgument, "offset %zu lies outside of a window of %zu bytes", offset, known->bytes);
  }
  if (topology.teamOf(peer) != topology.teamOf(comm->rank())) {
    *out = nullptr;  // only the network reaches it
    return;
  }
  unsigned char* const part = known->parts[static_cast<size_t>(peer)];
  if (part == nullptr) {
    nccl::fail(ncclInvalidUsage, "rank %d is in another process: its memory has no address here", peer);
  }
  *out = part + offset;
}

}  // namespace

EMU_FUNCTION(ncclTeam_t, ncclTeamWorld, (ncclComm_t comm), team, (comm),
             teamOf(comm, [](const Topology& t, int rank) { return ncclTeam_t{t.ranks, rank, 1}; }))

EMU_FUNCTION(ncclTeam_t, ncclTeamLsa, (ncclComm_t comm), team, (comm),
             teamOf(comm, [](const Topology& t, int rank) { return ncclTeam_t{t.teamSize, t.placeOf(rank), 1}; }))

// The ranks in the same place of each LSA team.
EMU_FUNCTION(ncclTeam_t, ncclTeamRail, (ncclComm_t comm), team, (comm), teamOf(comm, [](const Topology& t, int rank) {
               return ncclTeam_t{t.teams(), t.teamOf(rank), t.teamSize};
             }))

EMU_NCCL(ncclCommQueryProperties, (ncclComm_t comm, ncclCommProperties_t* props), (comm, props),
         properties(comm, props))

EMU_NCCL(ncclGetLsaDevicePointer, (ncclWindow_t window, size_t offset, int lsaRank, void** outPtr),
         (window, offset, lsaRank, outPtr), peerPointer(window, offset, lsaRank, true, outPtr))

EMU_NCCL(ncclGetPeerDevicePointer, (ncclWindow_t window, size_t offset, int peer, void** outPtr),
         (window, offset, peer, outPtr), peerPointer(window, offset, peer, false, outPtr))
