#include "nccl/arena.h"

#include <cstdio>

namespace emu::arena {

bool pronounce(Verdict& verdict, int rank, ncclResult_t code, const char* text) {
  uint32_t none = 0;
  if (!verdict.state.compare_exchange_strong(none, 1, std::memory_order_acq_rel)) return false;
  verdict.rank = rank;
  verdict.code = static_cast<uint32_t>(code);
  snprintf(verdict.text, sizeof verdict.text, "%s", text);
  verdict.state.store(2, std::memory_order_release);
  return true;
}

void readVerdict(Verdict& verdict, int* rank, ncclResult_t* code, const char** text) {
  Bell silent{};
  const uint64_t patience = now() + 200'000'000;
  const auto readable = [&] { return verdict.state.load(std::memory_order_acquire) == 2; };
  if (readable() || waitUntil(silent, readable, patience) == WaitEnd::Ready) {
    *rank = verdict.rank;
    *code = static_cast<ncclResult_t>(verdict.code);
    *text = verdict.text;
    return;
  }
  *rank = -1;
  *code = ncclRemoteError;
  *text = "a rank ended while it was reporting a failure";
}

}  // namespace emu::arena
