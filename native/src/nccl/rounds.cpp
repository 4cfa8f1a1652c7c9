#include "nccl/rounds.h"

#include <cstdio>
#include <cstring>

namespace emu::nccl {

Rounds::Rounds(DeviceWait& wait, const Operation& operation)
    : wait_(wait),
      ranks_(wait.ranks()),
      text_(describe(operation)),
      round_(ranks_.state().deviceRound.load(std::memory_order_relaxed)) {}

unsigned char* Rounds::mine() { return ranks_.area(ranks_.rank()).chunks[(round_ + 1) & 1]; }

const unsigned char* Rounds::of(int rank) { return ranks_.area(rank).chunks[round_ & 1]; }

bool Rounds::post(Outcome* outcome) {
  arena::Rounds& shared = ranks_.control().device;
  const uint64_t round = ++round_;
  const uint64_t all = round * static_cast<uint64_t>(ranks_.size());
  arena::Statement& mine = ranks_.area(ranks_.rank()).statements[round & 1];
  mine.round = ++ownRound_;
  snprintf(mine.text, sizeof mine.text, "%s", text_.c_str());
  ranks_.state().deviceRound.store(round, std::memory_order_release);
  if (shared.posts.fetch_add(1, std::memory_order_acq_rel) + 1 == all) shared.changed.notifyAll();

  const bool met = wait_.await(
      shared.changed, [&] { return shared.posts.load(std::memory_order_acquire) >= all; },
      [&](int rank) { return ranks_.control().ranks[rank].deviceRound.load(std::memory_order_acquire) < round; }, outcome);
  if (!met) return false;
  for (int rank = 0; rank < ranks_.size(); ++rank) {
    const arena::Statement& other = ranks_.area(rank).statements[round & 1];
    if (mine.round == other.round && strcmp(mine.text, other.text) == 0) continue;
    *outcome = outcomeOf(TeamResult::Mismatch, std::string("the ranks called different operations: ") + mine.text +
                                                   " on rank " + std::to_string(ranks_.rank()) + " and " + other.text +
                                                   " on rank " + std::to_string(rank));
    return false;
  }
  return true;
}

}  // namespace emu::nccl
