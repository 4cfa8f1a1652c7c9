// Point-to-point operations over message rings.
#pragma once

#include <vector>

#include "cuda/work.h"
#include "nccl/device_wait.h"
#include "nccl/operation.h"

namespace emu::nccl {

// Runs sends and receives side by side until all are done: those to one peer in order, all others in any order. A send
// is done when its data is in the ring, so that a short one does not wait for the receiver.
Outcome runMessages(DeviceWait& wait, const std::vector<Operation>& operations, WorkContext& context);

}  // namespace emu::nccl
