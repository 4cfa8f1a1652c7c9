#include "nccl/peer_watch.h"

#include <vector>

namespace emu {

namespace {
constexpr uint64_t kInterval = 50'000'000;
constexpr int kProcessesPerLook = 4;
}  // namespace

bool PeerWatch::gone(const std::function<bool(int)>& missing, std::string* why) {
  for (int rank = 0; rank < size_; ++rank) {
    if (rank == self_ || !missing(rank)) continue;
    const arena::Presence presence = control_.ranks[rank].presence.load(std::memory_order_acquire);
    if (presence == arena::Presence::Left || presence == arena::Presence::Aborted) {
      // What it did before it went may have come in between.
      if (!missing(rank)) continue;
      *why = "rank " + std::to_string(rank) +
             (presence == arena::Presence::Left ? " destroyed its communicator" : " aborted its communicator");
      return true;
    }
  }
  const uint64_t time = now();
  if (time < lookAt_) return false;
  lookAt_ = time + kInterval;
  const ProcessIdentity here = self();
  int looks = 0;
  for (int i = 0; i < size_ && looks < kProcessesPerLook; ++i) {
    const int rank = next_;
    next_ = (next_ + 1) % size_;
    const arena::RankState& state = control_.ranks[rank];
    if (rank == self_ || state.presence.load(std::memory_order_acquire) < arena::Presence::Present) continue;
    if (state.process == here || !missing(rank)) continue;
    ++looks;
    if (!exists(state.process) && missing(rank)) {
      *why = "rank " + std::to_string(rank) + " is dead (process " + std::to_string(state.process.pid) + " ended)";
      return true;
    }
  }
  return false;
}

std::string listRanks(int size, const std::function<bool(int)>& missing) {
  std::vector<int> ranks;
  for (int rank = 0; rank < size; ++rank) {
    if (missing(rank)) ranks.push_back(rank);
  }
  if (ranks.empty()) return "";
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (i > 0) text += i + 1 == ranks.size() ? " and " : ", ";
    text += std::to_string(ranks[i]);
  }
  return text;
}

}  // namespace emu
