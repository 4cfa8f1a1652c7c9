// Rounds of a collective: every rank puts a chunk into its send buffer, posts it, waits for all others, and reads
// theirs.
#pragma once

#include <cstddef>
#include <string>

#include "nccl/device_wait.h"
#include "nccl/operation.h"

namespace emu::nccl {

class Rounds {
 public:
  Rounds(DeviceWait& wait, const Operation& operation);

  // Where this rank's data of the next round goes; arena::kChunkBytes.
  unsigned char* mine();
  // Posts it and waits for everyone. False: `outcome` says why.
  bool post(Outcome* outcome);
  // What a rank posted in the last round; valid until the post after the next one.
  const unsigned char* of(int rank);

 private:
  DeviceWait& wait_;
  SharedTeam& ranks_;
  const std::string text_;  // of the operation
  uint64_t round_;         // of the communicator, the last posted
  uint64_t ownRound_ = 0;  // of this operation
};

}  // namespace emu::nccl
