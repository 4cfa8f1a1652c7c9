// Identity of processes, safe against the reuse of process ids.
#pragma once

#include <cstdint>

namespace emu {

// Plain data: lies in shared memory and in unique ids.
struct ProcessIdentity {
  int32_t pid;
  uint64_t started;  // clock ticks since boot

  bool operator==(const ProcessIdentity& other) const { return pid == other.pid && started == other.started; }
  bool operator!=(const ProcessIdentity& other) const { return !(*this == other); }
};

// The calling process; right after a fork, too.
ProcessIdentity self();

// Whether the process still runs, as far as can be seen. A process that ended but was not yet waited for by its parent
// does not.
bool exists(const ProcessIdentity& process);

}  // namespace emu
