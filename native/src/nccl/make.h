// The ways to a communicator: with a unique id, or out of another communicator.
#pragma once

#include <memory>

#include "nccl/state.h"

namespace emu::nccl {

// Meets the other ranks, at once or at the end of the group. *out is valid at once, and NULL again if a blocking one
// fails.
ncclResult_t makeCommunicator(ncclComm_t* out, const ncclUniqueId& id, int size, int rank, int device, bool blocking);

ncclResult_t splitCommunicator(const Comm& parent, int color, int key, ncclComm_t* out, bool blocking);

}  // namespace emu::nccl
