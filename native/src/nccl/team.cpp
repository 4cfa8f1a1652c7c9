#include "nccl/team.h"

#include <cstring>
#include <iterator>
#include <utility>

#include "nccl/peer_watch.h"

namespace emu {

namespace {

constexpr uint64_t kLookInterval = 100'000'000;

thread_local std::string lastEnd;

// In the order of Purpose, after what is none.
constexpr const char* kPurposes[] = {"something unknown", "a barrier",     "an all-gather",
                                     "sharing memory",    "ncclCommSplit", "ncclCommWindowRegister"};

const char* nameOf(uint32_t purpose) { return kPurposes[purpose < std::size(kPurposes) ? purpose : 0]; }

}  // namespace

Team::Team(std::shared_ptr<Segment> memory, int rank, int size)
    : memory_(std::move(memory)), control_(arena::control(memory_->data())), rank_(rank), size_(size) {}

TeamResult Team::await(EventCount& changed, const std::function<bool()>& ready, const std::function<bool(int)>& missing,
                             uint64_t deadline, std::string* why) {
  const uint64_t start = now();
  PeerWatch watch(control_, size_, rank_);
  TeamResult end = TeamResult::Broken;
  const auto cancelled = [&] {
    if (aborted()) {
      end = TeamResult::Aborted;
      *why = "ncclCommAbort was called";
      return true;
    }
    if (failed()) {
      end = TeamResult::PeerDied;
      *why = failureText();
      return !ready();
    }
    if (watch.gone(missing, why)) {
      end = TeamResult::PeerDied;
      return true;
    }
    return false;
  };
  switch (waitUntil(changed, ready, deadline, cancelled)) {
    case WaitEnd::Ready: return TeamResult::Ok;
    case WaitEnd::Timeout:
      *why = "waited " + std::to_string((now() - start) / 1'000'000) + " ms for " + listRanks(size_, missing);
      return TeamResult::Timeout;
    case WaitEnd::Broken:
      if (waitsBroken()) {
        *why = "the waits of this process were broken: " + brokenReason();
        return TeamResult::Broken;
      }
      return end;
  }
  return end;
}

TeamResult Team::ended(TeamResult result, const std::string& why) {
  hostEnd_ = result;
  hostEndText_ = why;
  lastEnd = why;
  // The others would wait for this rank for nothing.
  if (result != TeamResult::Aborted) fail(resultOf(result), why);
  return result;
}

TeamResult Team::exchange(Purpose purpose, const void* in, void* out, size_t bytes, uint64_t deadline) {
  std::lock_guard<std::mutex> lock(hostMutex_);
  if (hostEnd_ != TeamResult::Ok) {
    lastEnd = hostEndText_;
    return hostEnd_;
  }
  if (aborted()) return ended(TeamResult::Aborted, "ncclCommAbort was called");
  if (failed()) return ended(TeamResult::PeerDied, failureText());
  if (bytes > arena::kHostDataBytes) return ended(TeamResult::Broken, "more than 4096 bytes in a host-side all-gather");

  const uint64_t round = ++hostRound_;
  const size_t parity = round & 1;
  arena::HostData& mine = area(rank_).hostData[parity];
  mine.kind = static_cast<uint32_t>(purpose);
  mine.bytes = static_cast<uint32_t>(bytes);
  if (bytes > 0) memcpy(mine.data, in, bytes);
  arena::Rounds& rounds = control_.host;
  const uint64_t all = round * static_cast<uint64_t>(size_);
  state().hostRound.store(round, std::memory_order_release);
  if (rounds.posts.fetch_add(1, std::memory_order_acq_rel) + 1 == all) rounds.changed.notifyAll();

  std::string why;
  TeamResult result = await(
      rounds.changed, [&] { return rounds.posts.load(std::memory_order_acquire) >= all; },
      [&](int rank) { return control_.ranks[rank].hostRound.load(std::memory_order_acquire) < round; }, deadline, &why);
  if (result == TeamResult::Ok && aborted()) {
    result = TeamResult::Aborted;
    why = "ncclCommAbort was called";
  }
  if (result != TeamResult::Ok) return ended(result, std::string(nameOf(mine.kind)) + ": " + why);

  for (int rank = 0; rank < size_; ++rank) {
    const arena::HostData& other = area(rank).hostData[parity];
    if (other.kind != mine.kind || other.bytes != mine.bytes) {
      return ended(TeamResult::Mismatch, "rank " + std::to_string(rank_) + " is at " + nameOf(mine.kind) + " (" +
                                             std::to_string(mine.bytes) + " B), rank " + std::to_string(rank) + " at " +
                                             nameOf(other.kind) + " (" + std::to_string(other.bytes) + " B)");
    }
    if (bytes > 0) memcpy(static_cast<unsigned char*>(out) + static_cast<size_t>(rank) * bytes, other.data, bytes);
  }
  return TeamResult::Ok;
}

TeamResult Team::shareSegments(size_t bytes, std::vector<std::shared_ptr<Segment>>* segments, uint64_t deadline) {
  // A rank that has no memory says so, so that all fail together and none waits.
  struct Offer {
    MemoryAddress address;
    uint32_t valid;
  };
  std::string why;
  std::vector<std::shared_ptr<Segment>> mapped(static_cast<size_t>(size_));
  const File file = SharedMemory::create(bytes, &why);
  Offer mine{};
  if (file) {
    mine.address = SharedMemory::addressOf(file, bytes);
    mapped[static_cast<size_t>(rank_)] = SharedMemory::map(file, bytes, &why);
    mine.valid = mapped[static_cast<size_t>(rank_)] != nullptr;
  }
  std::vector<Offer> offers(static_cast<size_t>(size_));
  TeamResult result = exchange(Purpose::ShareSegments, &mine, offers.data(), sizeof mine, deadline);
  if (result != TeamResult::Ok) return result;

  uint32_t complete = mine.valid;
  for (int rank = 0; rank < size_ && complete != 0; ++rank) {
    const size_t index = static_cast<size_t>(rank);
    if (rank == rank_) continue;
    const bool offered = offers[index].valid != 0;
    if (offered) mapped[index] = SharedMemory::map(offers[index].address, &why);
    if (mapped[index] != nullptr) continue;
    complete = 0;
    why = offered ? "shared memory of rank " + std::to_string(rank) + ": " + why
                  : "rank " + std::to_string(rank) + " could not provide shared memory";
  }
  // The file must stay open until all have mapped it.
  std::vector<uint32_t> states(static_cast<size_t>(size_));
  result = exchange(Purpose::ShareSegments, &complete, states.data(), sizeof complete, deadline);
  if (result != TeamResult::Ok) return result;
  for (int rank = 0; rank < size_; ++rank) {
    if (states[static_cast<size_t>(rank)] == 0) {
      lastEnd = complete == 0 ? why : "rank " + std::to_string(rank) + " could not map the shared memory";
      return TeamResult::Broken;
    }
  }
  *segments = std::move(mapped);
  return TeamResult::Ok;
}

bool Team::alive(int rank) const {
  if (rank < 0 || rank >= size_) return false;
  const arena::RankState& state = control_.ranks[rank];
  if (state.presence.load(std::memory_order_acquire) == arena::Presence::Aborted) return false;
  if (state.process == self()) return true;
  Look& look = looks_[rank];
  if (look.dead.load(std::memory_order_relaxed)) return false;
  const uint64_t time = now();
  uint64_t next = look.at.load(std::memory_order_relaxed);
  if (time < next) return true;
  if (!look.at.compare_exchange_strong(next, time + kLookInterval, std::memory_order_relaxed)) return true;
  if (exists(state.process)) return true;
  look.dead.store(true, std::memory_order_relaxed);
  return false;
}

std::string Team::explain() const { return lastEnd; }

std::vector<int> Team::hosts() const {
  std::vector<int> hosts;
  for (int r = 0; r < size_; ++r) hosts.push_back(control_.ranks[r].host);
  return hosts;
}

void Team::abort() {
  aborted_.store(true, std::memory_order_release);
  depart(arena::Presence::Aborted);
}

void Team::leave() { depart(arena::Presence::Left); }

void Team::depart(arena::Presence how) {
  arena::Presence present = arena::Presence::Present;
  if (state().presence.compare_exchange_strong(present, how, std::memory_order_acq_rel)) wakeAll();
}

void Team::fail(ncclResult_t code, const std::string& text) {
  if (arena::recordFailure(control_.failure, rank_, code, text.c_str())) wakeAll();
}

void Team::failMismatched(const std::string& text) {
  control_.mismatched.store(1, std::memory_order_release);
  fail(ncclInvalidUsage, text);
}

std::string Team::failureText() {
  const arena::RecordedFailure failed = failure();
  return "rank " + std::to_string(failed.rank) + " failed: " + failed.text;
}

void Team::wakeAll() {
  control_.host.changed.notifyAll();
  control_.device.changed.notifyAll();
  for (int rank = 0; rank < size_; ++rank) control_.ranks[rank].messages.notifyAll();
}

ncclResult_t resultOf(TeamResult result) {
  // In the order of TeamResult.
  constexpr ncclResult_t kResults[] = {ncclSuccess,     ncclTimeout,      ncclSystemError,
                                       ncclRemoteError, ncclInvalidUsage, ncclInvalidUsage};
  return kResults[static_cast<size_t>(result)];
}

}  // namespace emu
