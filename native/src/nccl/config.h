// ncclConfig_t: checks and defaults.
#pragma once

#include "abi/nccl.h"

namespace emu::nccl {

// Checks all fields. The tuning fields mean nothing without a GPU: a communicator keeps only whether it blocks, which
// is left as it is where `given` is NULL or leaves it undefined.
void readConfig(const ncclConfig_t* given, bool* blocking);

}  // namespace emu::nccl
