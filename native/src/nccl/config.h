// ncclConfig_t: checks and defaults.
#pragma once

#include "abi/nccl.h"

namespace emu::nccl {

// What a communicator keeps of its configuration. The tuning fields mean nothing without a GPU: they are only checked.
struct Config {
  bool blocking = true;
};

// `given` may be NULL: all from `inherited`, as are undefined fields.
ncclResult_t readConfig(const ncclConfig_t* given, const Config& inherited, Config* out);

}  // namespace emu::nccl
