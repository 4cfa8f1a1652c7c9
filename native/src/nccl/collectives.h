// The collectives over rounds.
#pragma once

#include "cuda/work.h"
#include "nccl/device_wait.h"
#include "nccl/operation.h"

namespace emu::nccl {

// Runs one collective for this rank, on the worker of its stream.
Outcome runCollective(DeviceWait& wait, const Operation& operation, WorkContext& context);

}  // namespace emu::nccl
