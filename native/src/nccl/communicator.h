// ncclComm as the EP room sees it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "abi/nccl.h"
#include "nccl/team.h"
#include "nccl/topology.h"

// A window of registered memory. Windows of a communicator carry an ordinal, so that the ranks' registrations can be
// matched.
struct ncclWindow_vidmem {
  ncclComm_t comm;
  uint64_t ordinal;
  unsigned char* base;
  size_t bytes;
  std::vector<unsigned char*> parts;  // of each rank; NULL of a rank in another process
};

struct ncclComm {
  int device;
  bool blocking;
  std::shared_ptr<emu::Team> team;
  emu::Topology topology;

  int rank() const { return team->rank(); }
  int size() const { return team->size(); }
};

namespace emu {

// NULL unless `comm` is a live communicator of this process.
ncclComm* communicator(ncclComm_t comm);
// NULL unless `window` is a live window of `comm`.
ncclWindow_vidmem* window(ncclComm_t comm, ncclWindow_t window);

// Notes that this rank calls a collective operation of the live communicator, the next of the sequence that must be the
// same on all ranks. "" or a text that names the two calls that differ; then the communicator has failed on all ranks.
// The text of the operation has at most 111 characters. Work that may be replayed calls this as Work::issued.
std::string noteCollective(ncclComm_t comm, const std::string& operation);

}  // namespace emu
