// How device work waits for other ranks.
//
// A real kernel that waits for a rank that is gone waits until ncclCommAbort, and the device is none the worse for it.
// So here: the trouble becomes the communicator's async error at once, the work goes on waiting for the abort, and only
// if none comes for kGrace it ends with a device error.
#pragma once

#include <functional>
#include <string>

#include "abi/cuda_runtime.h"
#include "abi/nccl.h"
#include "nccl/team.h"

namespace emu::nccl {

class CommState;

// How device work of a communicator ended, for the communicator and for the device. Work that does not end well throws
// it.
struct Outcome {
  cudaError_t device = cudaSuccess;
  ncclResult_t async = ncclSuccess;
  std::string text;
};

// Of a wait that did not end well. After ncclCommAbort the work just ends, as the real kernel does.
Outcome outcomeOf(TeamResult result, const std::string& text);

class DeviceWait {
 public:
  static constexpr uint64_t kGrace = 5'000'000'000;

  DeviceWait(CommState& comm, Team& ranks) : comm_(comm), ranks_(ranks) {}
  Team& ranks() { return ranks_; }

  // Blocks until ready() holds. missing(rank): whether that rank is waited for.
  void await(EventCount& changed, const std::function<bool()>& ready, const std::function<bool(int)>& missing);

  // Before the work of the communicator begins.
  void begin();

 private:
  void waitForAbort(EventCount& changed, const std::function<bool()>& ready, uint64_t deadline,
                    const std::string& trouble);

  CommState& comm_;
  Team& ranks_;
};

}  // namespace emu::nccl
