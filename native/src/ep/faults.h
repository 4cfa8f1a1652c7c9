// Injected faults and shuffled order, as EP operations meet them.
#pragma once

#include <cstdint>

#include "base/faults.h"
#include "ep/group.h"

namespace emu::ep {

// Counts one operation of the rank and sits out its delay.
faults::Operation applyFaults(int rank);

// Until when a slow link keeps from an operation that starts now what other teams send; 0 = not at all.
uint64_t slowUntil(const faults::Operation& met);
// Sits out a slow link to the source. Here, unless the deadline comes first or the waits end.
Arrival awaitLink(const Group& group, int source, uint64_t slowUntil, uint64_t deadline);

// A small generator for orders that the real library leaves open.
class Shuffle {
 public:
  explicit Shuffle(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t bound) { return next() % bound; }

 private:
  uint64_t state_;
};

}  // namespace emu::ep
