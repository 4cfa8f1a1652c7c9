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

bool DeviceWait::await(EventCount& changed, const std::function<bool()>& ready, const std::function<bool(int)>& missing,
                       Outcome* outcome) {
  const uint64_t deadline = waitLimit();
  std::string why;
  const TeamResult result = ranks_.await(changed, ready, missing, deadline, &why);
  if (result == TeamResult::Ok) return true;
  // Calls that differ end the work of all ranks at once.
  if (result == TeamResult::PeerDied && ranks_.mismatched()) {
    *outcome = outcomeOf(TeamResult::Mismatch, why);
    return false;
  }
  if (result == TeamResult::PeerDied) return waitForAbort(changed, ready, deadline, why, outcome);
  *outcome = outcomeOf(result, why);
  return false;
}

bool DeviceWait::begin(Outcome* outcome) {
  if (comm_.aborted()) {
    *outcome = outcomeOf(TeamResult::Aborted, "ncclCommAbort was called");
    return false;
  }
  if (!ranks_.failed()) return true;
  if (ranks_.mismatched()) {
    *outcome = outcomeOf(TeamResult::Mismatch, ranks_.failureText());
    return false;
  }
  return waitForAbort(ranks_.control().device.changed, [] { return false; }, waitLimit(), ranks_.failureText(), outcome);
}

bool DeviceWait::waitForAbort(EventCount& changed, const std::function<bool()>& ready, uint64_t deadline, const std::string& trouble,
                        Outcome* outcome) {
  comm_.failAsync(ncclRemoteError, trouble);
  const uint64_t end = std::min(deadline, now() + kGrace);
  if (waitUntil(changed, ready, end, [&] { return comm_.aborted(); }) == WaitEnd::Ready) return true;
  *outcome = outcomeOf(comm_.aborted() ? TeamResult::Aborted : TeamResult::PeerDied, trouble);
  return false;
}

}  // namespace emu::nccl
