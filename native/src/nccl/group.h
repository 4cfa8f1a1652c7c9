// ncclGroupStart and ncclGroupEnd: what the calls of a thread in between have asked for.
#pragma once

#include <functional>

#include "nccl/operation.h"

namespace emu::nccl::group {

// The part of a call that meets other ranks on the host, such as init or split. `body` runs on a thread whose current
// device is the communicator's.
struct HostOperation {
  Comm comm;  // whose async error tells of it if it does not block
  std::function<void()> body;
  std::function<void()> abandon;  // instead of the body, if the group fails before; may be empty
};

void start();
// Does what the group holds: all hostOperations side by side, then all operations. Answers the first error of the
// group.
ncclResult_t end();
// Forgets what the group holds.
void discard();

// Inside a group these only take note; outside they act at once.
ncclResult_t runHostOperation(HostOperation hostOperation);
ncclResult_t add(const Comm& comm, cudaStream_t stream, const Operation& operation);

// Passes on the result of a call that a group may hold. If it failed, so does the group.
ncclResult_t note(ncclResult_t result);

}  // namespace emu::nccl::group
