#include "nccl/device_wait.h"

#include <algorithm>

#include "nccl/state.h"

namespace emu::nccl {

Outcome outcomeOf(TeamResult result, const std::string& text) {
  switch (result) {
    case TeamResult::Ok: return {};
    case TeamResult::Aborted: return {cudaSuccess, ncclSuccess, text};
    case TeamResult::Timeout: return {cudaErrorLaunchTimeout, ncclTimeout, text};
    default: return {cudaErrorLaunchFailure, resultOf(result), text};
  }
}

void DeviceWait::await(EventCount& changed, const std::function<bool()>& ready,
                       const std::function<bool(int)>& missing) {
  const uint64_t deadline = waitLimit();
  std::string why;
  const TeamResult result = ranks_.await(changed, ready, missing, deadline, &why);
  if (result == TeamResult::Ok) return;
  if (result != TeamResult::PeerDied) throw outcomeOf(result, why);
  // Calls that differ end the work of all ranks at once.
  if (ranks_.mismatched()) throw outcomeOf(TeamResult::Mismatch, why);
  waitForAbort(changed, ready, deadline, why);
}

void DeviceWait::begin() {
  if (comm_.aborted()) throw outcomeOf(TeamResult::Aborted, "ncclCommAbort was called");
  if (!ranks_.failed()) return;
  if (ranks_.mismatched()) throw outcomeOf(TeamResult::Mismatch, ranks_.failureText());
  waitForAbort(ranks_.control().device.changed, [] { return false; }, waitLimit(), ranks_.failureText());
}

void DeviceWait::waitForAbort(EventCount& changed, const std::function<bool()>& ready, uint64_t deadline,
                              const std::string& trouble) {
  comm_.failAsync(ncclRemoteError, trouble);
  const uint64_t end = std::min(deadline, now() + kGrace);
  if (waitUntil(changed, ready, end, [&] { return comm_.aborted(); }) == WaitEnd::Ready) return;
  throw outcomeOf(comm_.aborted() ? TeamResult::Aborted : TeamResult::PeerDied, trouble);
}

}  // namespace emu::nccl
