#include "ep/faults.h"

#include <algorithm>

#include "base/wait.h"

namespace emu::ep {

faults::Operation applyFaults(int rank) {
  const faults::Operation met = faults::onOperation(rank);
  if (met.delayMs > 0) {
    EventCount never{};
    waitUntil(never, [] { return false; }, now() + met.delayMs * 1'000'000);
  }
  return met;
}

uint64_t slowUntil(const faults::Operation& met) {
  return met.linkDelayMs == 0 ? 0 : now() + met.linkDelayMs * 1'000'000;
}

Arrival awaitLink(const Group& group, int source, uint64_t slowUntil, uint64_t deadline) {
  if (slowUntil == 0 || group.topology.teamOf(source) == group.topology.teamOf(group.rank)) return Arrival::Here;
  EventCount never{};
  const auto cancelled = [&group] { return group.team->aborted(); };
  const uint64_t until = deadline == kNoDeadline ? slowUntil : std::min(slowUntil, deadline);
  if (waitUntil(never, [] { return false; }, until, cancelled) == WaitEnd::Broken) return Arrival::Broken;
  return until == slowUntil ? Arrival::Here : Arrival::Late;
}

}  // namespace emu::ep
