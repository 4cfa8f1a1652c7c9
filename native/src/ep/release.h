// Which generation of NCCL EP is played: API v2, or release 0.2.0, as far as its public files tell what it does.
#pragma once

#include "base/options.h"

namespace emu::ep {

constexpr int kRelease020 = 200;
inline bool release020() { return options::epVersion() == kRelease020; }

// What 0.2.0 appends to the group configuration: its own budgets of multiprocessors for dispatch and combine, 0 = automatic.
struct GroupConfig020 {
  unsigned dispatchMultiprocessors;
  unsigned combineMultiprocessors;
};

}  // namespace emu::ep
