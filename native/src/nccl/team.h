// What the ranks of a communicator share: found through the 128-byte unique id, threads and processes alike.
//
// Everything lives in anonymous shared memory (memfd) that other processes open through /proc/<pid>/fd, so no name
// outlives the processes, whatever kills them.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "nccl/arena.h"
#include "nccl/shared_memory.h"

namespace emu {

enum class TeamResult {
  Ok,
  Timeout,   // the deadline passed
  Broken,    // nccl4jEmuBreakWaits, or shared memory could not be had
  PeerDied,  // the process of a rank that is waited for ended, or the rank left, aborted or reported a failure
  Aborted,   // this rank called ncclCommAbort
  Mismatch   // the ranks called different things
};

// What a host-side collective is for; ranks that meet with different purposes have called different functions.
enum class Purpose : uint32_t { Barrier = 1, AllGather, ShareSegments, Split, RegisterWindow };

// One rank's way to the others.
class Team {
 public:
  Team(std::shared_ptr<Segment> memory, int rank, int size);
  ~Team() { leave(); }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  std::vector<int> hosts() const;  // of every rank

  // ---- host-side collectives, called by the API thread of every rank in the same order; each ends by `deadline` ----

  TeamResult barrier(uint64_t deadline) { return exchange(Purpose::Barrier, nullptr, nullptr, 0, deadline); }
  // in: `bytes` of this rank, at most 4096; out: size() * bytes in rank order.
  TeamResult allGather(const void* in, void* out, size_t bytes, uint64_t deadline) {
    return exchange(Purpose::AllGather, in, out, bytes, deadline);
  }
  TeamResult exchange(Purpose purpose, const void* in, void* out, size_t bytes, uint64_t deadline);
  // Each rank contributes one zeroed segment of `bytes` (may differ); all are mapped by all. segments[r] is rank r's.
  TeamResult shareSegments(size_t bytes, std::vector<std::shared_ptr<Segment>>* segments, uint64_t deadline);
  // What ended the calling thread's last one that did not end with Ok, in words that name the ranks.
  std::string explain() const;

  // ---- for the waits of device work ----

  bool alive(int rank) const;  // its process exists and it did not call ncclCommAbort
  bool aborted() const { return aborted_.load(std::memory_order_acquire); }  // this rank called ncclCommAbort
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
  bool failed() const { return arena::failureRecorded(control_.failure); }
  // Who failed and how. Only if failed(). The code is the failing rank's own; for the others it is ncclRemoteError.
  arena::RecordedFailure failure() { return arena::readFailure(control_.failure); }
  std::string failureText();
  // Likewise, because the ranks called different operations: a failure of them all.
  void failMismatched(const std::string& text);
  bool mismatched() const { return control_.mismatched.load(std::memory_order_acquire) != 0 && failed(); }

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
