#include "nccl/arena.h"

#include <cstdio>

namespace emu::arena {

bool recordFailure(FailureRecord& failure, int rank, ncclResult_t code, const char* text) {
  uint32_t none = 0;
  if (!failure.state.compare_exchange_strong(none, 1, std::memory_order_acq_rel)) return false;
  failure.rank = rank;
  failure.code = static_cast<uint32_t>(code);
  snprintf(failure.text, sizeof failure.text, "%s", text);
  failure.state.store(2, std::memory_order_release);
  return true;
}

RecordedFailure readFailure(FailureRecord& failure) {
  EventCount never{};
  const auto readable = [&] { return failure.state.load(std::memory_order_acquire) == 2; };
  if (waitUntil(never, readable, now() + 200'000'000) == WaitEnd::Ready) {
    return {failure.rank, static_cast<ncclResult_t>(failure.code), failure.text};
  }
  return {-1, ncclRemoteError, "a rank ended while it was reporting a failure"};
}

}  // namespace emu::arena
