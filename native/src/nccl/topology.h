// How the ranks of a communicator lie on hosts, and what follows for those who address each other's memory (an LSA
// team) and those who need the network in between (GIN).
#pragma once

#include <vector>

#include "abi/nccl.h"

namespace emu {

struct Topology {
  int ranks = 1;
  int teamSize = 1;                            // S; teams are runs of consecutive ranks
  int hosts = 1;                               // distinct ones
  ncclGinType_t gin = NCCL_GIN_TYPE_NONE;      // between any two ranks
  ncclGinType_t railedGin = NCCL_GIN_TYPE_NONE;  // between ranks that have the same place in their teams

  Topology() = default;
  // hostOf[r]: the host of rank r. NCCL_LSA_TEAM_SIZE makes teams smaller, other variables of NCCL take GIN away.
  explicit Topology(const std::vector<int>& hostOf);

  int teams() const { return ranks / teamSize; }  // N
  int teamOf(int rank) const { return rank / teamSize; }
  int placeOf(int rank) const { return rank % teamSize; }
};

}  // namespace emu
