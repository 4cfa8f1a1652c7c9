// The sequence of collective operations that the ranks of a communicator call: NCCL needs it to be the same on all.
#pragma once

#include <string>

#include "nccl/team.h"

namespace emu::nccl {

// Notes `operation` as the next one that this rank calls, and compares it with what the other ranks have called in the
// same place, as far as they have come. "" or a text that names the two calls that differ. One call at a time per rank.
std::string noteCall(Team& ranks, const std::string& operation);

}  // namespace emu::nccl
