// Notices during a wait that a rank waited for will never come: its process ended, or it left or aborted.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "nccl/arena.h"

namespace emu {

class PeerWatch {
 public:
  PeerWatch(arena::Control& control, int size, int self) : control_(control), size_(size), self_(self) {}

  // Whether a rank for which missing() holds is gone; `why` tells which and how. Meant to be asked often: processes are
  // looked at a few at a time, so that 64 waiting ranks don't keep the machine busy with it.
  bool gone(const std::function<bool(int)>& missing, std::string* why);

 private:
  arena::Control& control_;
  const int size_;
  const int self_;
  int next_ = 0;
  uint64_t lookAt_ = 0;
};

// "ranks 1, 2 and 5" of those for which missing() holds; "" if none.
std::string listRanks(int size, const std::function<bool(int)>& missing);

}  // namespace emu
