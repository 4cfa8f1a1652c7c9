// The Team of one rank over an arena of shared memory, and what only the NCCL room may do with it.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "nccl/arena.h"
#include "nccl/team.h"

namespace emu {

// What a host-side collective is for; ranks that meet with different purposes have called different functions.
enum class Purpose : uint32_t { Barrier = 1, AllGather, ShareSegments, Split, RegisterWindow };

class SharedTeam final : public Team {
 public:
  SharedTeam(std::shared_ptr<Segment> memory, int rank, int size);
  ~SharedTeam() override;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  TeamResult barrier(uint64_t deadline) override;
  TeamResult allGather(const void* in, void* out, size_t bytes, uint64_t deadline) override;
  TeamResult shareSegments(size_t bytes, std::vector<std::shared_ptr<Segment>>* segments, uint64_t deadline) override;
  bool alive(int rank) const override;
  bool aborted() const override { return aborted_.load(std::memory_order_acquire); }
  std::string explain() const override;

  TeamResult exchange(Purpose purpose, const void* in, void* out, size_t bytes, uint64_t deadline);

  // Blocks until ready() holds or there is reason to give up: the deadline, broken waits, abort, the failure of another
  // rank, or that a rank for which missing() holds is gone. `why` tells the reason.
  TeamResult await(EventCount& changed, const std::function<bool()>& ready, const std::function<bool(int)>& missing,
                   uint64_t deadline, std::string* why);

  // Ends the waits of this rank; the others learn it when they wait for this rank.
  void abort();
  // This rank will take part in nothing any more.
  void leave();
  // Tells all ranks that the communicator cannot go on. The first failure stays.
  void fail(ncclResult_t code, const std::string& text);
  bool failed() const override { return arena::failureRecorded(control_.failure); }
  // Who failed and how. Only if failed(). The code is the failing rank's own; for the others it is ncclRemoteError.
  void failure(int* rank, ncclResult_t* code, std::string* text);
  std::string failureText() override;
  // Likewise, because the ranks called different operations: a failure of them all.
  void failMismatched(const std::string& text);
  bool mismatched() const { return control_.mismatched.load(std::memory_order_acquire) != 0 && failed(); }

  std::vector<int> hosts() const;  // of every rank

  arena::Control& control() { return control_; }
  arena::RankArea& area(int rank) { return arena::area(memory_->data(), rank); }
  arena::RankState& state() { return control_.ranks[rank_]; }

 private:
  TeamResult ended(TeamResult result, const std::string& why);
  void depart(arena::Presence how);
  void wakeAll();

  const std::shared_ptr<Segment> memory_;
  arena::Control& control_;
  const int rank_;
  const int size_;
  std::atomic<bool> aborted_{false};

  std::mutex hostMutex_;
  uint64_t hostRound_ = 0;
  TeamResult hostEnd_ = TeamResult::Ok;  // once a round failed, the rounds of the ranks no longer match
  std::string hostEndText_;

  struct Look {
    std::atomic<uint64_t> at{0};
    std::atomic<bool> dead{false};
  };
  mutable Look looks_[arena::kMaxRanks];
};

ncclResult_t resultOf(TeamResult result);

}  // namespace emu
