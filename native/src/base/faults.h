// Faults injected by control call.
#pragma once

#include <cstdint>

namespace emu::faults {

// An allocation or a launch on the device; true = it must fail.
bool failAllocation(int device);
bool failLaunch(int device);

// What the rank's next EP operation (dispatch or combine, each half of a staged one counts as one with its first half)
// suffers. Called once per operation when it *runs*, replays included.
struct Operation {
  uint64_t delayMs = 0;
  uint64_t linkDelayMs = 0;  // how late what comes from other LSA teams is
  bool silent = false;       // from now on nothing of this rank reaches anyone
  uint64_t deaf = 0;         // bit p: messages of peer p are not seen
};
Operation onOperation(int rank);  // does not return if the process is to end here

int inject(int kind, int subject, uint64_t nth, int64_t value);
void clear();

}  // namespace emu::faults
