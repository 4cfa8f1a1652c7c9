// How ranks find each other through the 128-byte unique id alone.
#pragma once

#include <functional>
#include <memory>

#include "abi/nccl.h"
#include "nccl/errors.h"
#include "nccl/team.h"

namespace emu::rendezvous {

// Makes an arena and an id that leads to it. The process keeps the arena open until the ranks have come together or
// failed to.
void publish(ncclUniqueId* id);

// Takes the state of `rank` and waits until all others have taken theirs. Fails if they don't come together; then the
// id is of no more use. cancelled() ends the wait early.
std::shared_ptr<Team> join(const ncclUniqueId& id, int size, int rank, int device,
                                 const std::function<bool()>& cancelled);

}  // namespace emu::rendezvous
