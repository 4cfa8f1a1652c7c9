// Windows: registered memory that the ranks of a communicator know by an ordinal.
#pragma once

#include <memory>

#include "nccl/state.h"

namespace emu::nccl {

// Symmetric windows are registered by all ranks together, at once or at the end of the group; others by each for
// itself.
ncclResult_t registerWindow(ncclComm_t comm, void* base, size_t bytes, ncclWindow_t* out, int flags);
ncclResult_t deregisterWindow(ncclComm_t comm, ncclWindow_t window);

}  // namespace emu::nccl
