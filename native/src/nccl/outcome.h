// How device work of a communicator ended, for the communicator and for the device.
#pragma once

#include <string>

#include "abi/cuda_runtime.h"
#include "abi/nccl.h"
#include "nccl/shared_team.h"

namespace emu::nccl {

struct Outcome {
  cudaError_t device = cudaSuccess;
  ncclResult_t async = ncclSuccess;
  std::string text;

  bool ok() const { return device == cudaSuccess && async == ncclSuccess && text.empty(); }
};

// Of a wait that did not end well. After ncclCommAbort the work just ends, as the real kernel does.
Outcome outcomeOf(TeamResult result, const std::string& text);

}  // namespace emu::nccl
