// ncclComm as the EP room sees it.
#pragma once

#include <cstdint>
#include <memory>

#include "abi/nccl.h"
#include "nccl/team.h"

// A window of registered memory. Windows of a communicator carry an ordinal, so that the ranks' registrations can be matched.
struct ncclWindow_vidmem {
  uint64_t magic;
  ncclComm_t comm;
  uint64_t ordinal;
  unsigned char* base;
  size_t bytes;
  int flags;
};

struct ncclComm {
  uint64_t magic;
  int device;
  bool blocking;
  std::shared_ptr<emu::Team> team;

  int rank() const { return team->rank(); }
  int size() const { return team->size(); }
};

namespace emu {

// NULL unless `comm` is a live communicator of this process.
ncclComm* communicator(ncclComm_t comm);
// NULL unless `window` is a live window of `comm`.
ncclWindow_vidmem* window(ncclComm_t comm, ncclWindow_t window);

}  // namespace emu
