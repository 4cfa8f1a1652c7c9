#include "nccl/topology.h"

#include <cstdlib>
#include <numeric>
#include <set>
#include <string>

#include "base/options.h"

namespace emu {

namespace {

// The variable's number, or `unset`.
int number(const char* name, int unset) {
  std::string text;
  return options::environment(name, &text) && !text.empty() ? std::atoi(text.c_str()) : unset;
}

int teamSizeOf(const std::vector<int>& hostOf) {
  int size = number("NCCL_LSA_TEAM_SIZE", 0);
  int run = 0;
  for (size_t r = 0; r < hostOf.size(); ++r) {
    ++run;
    if (r + 1 < hostOf.size() && hostOf[r + 1] == hostOf[r]) continue;
    size = std::gcd(size, run);
    run = 0;
  }
  return size;
}

}  // namespace

Topology::Topology(const std::vector<int>& hostOf)
    : ranks(static_cast<int>(hostOf.size())),
      teamSize(teamSizeOf(hostOf)),
      hosts(static_cast<int>(std::set<int>(hostOf.begin(), hostOf.end()).size())) {
  // The emulated machine has network adapters wherever it has more than one team.
  if (teams() == 1 || number("NCCL_GIN_ENABLE", 1) == 0) return;
  railedGin = number("NCCL_GIN_TYPE", NCCL_GIN_TYPE_GDAKI) == NCCL_GIN_TYPE_PROXY ? NCCL_GIN_TYPE_PROXY
                                                                                  : NCCL_GIN_TYPE_GDAKI;
  // Without connections across rails only ranks of one rail reach each other.
  if (number("NCCL_CROSS_NIC", 2) != 0) gin = railedGin;
}

}  // namespace emu
