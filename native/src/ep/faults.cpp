#include "ep/faults.h"

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

}  // namespace emu::ep
