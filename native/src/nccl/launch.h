// From the operations of a group to work on streams.
#pragma once

#include <vector>

#include "nccl/operation.h"

namespace emu::nccl {

struct Launch {
  Comm comm;
  cudaStream_t stream;
  Operation operation;
};

// For every communicator: its collectives in order, then all its point-to-point operations as one piece of work.
// Several streams of one communicator wait for each other before and after.
void launchAll(const std::vector<Launch>& launches);

}  // namespace emu::nccl
