#include "ep/exchange.h"

#include <cstdio>

#include "ep/tensor.h"

namespace emu::ep {

namespace {

// State bits of a mailbox; 0 is an empty one. The value lies above them.
constexpr uint64_t kFull = 1;
constexpr uint64_t kReading = 2;
constexpr uint64_t kSourceWaits = 4;  // for the mailbox to be emptied
constexpr int kValueShift = 8;

}  // namespace

const char* nameOf(Operation operation) {
  // In the order of Operation.
  constexpr const char* kNames[] = {"nothing", "ncclEpUpdateHandle", "ncclEpDispatch", "ncclEpCombine",
                                    "ncclEpMaskClean"};
  const auto index = static_cast<size_t>(operation);
  return kNames[index < std::size(kNames) ? index : 0];
}

TeamResult Exchange::open(const std::shared_ptr<Team>& team, size_t payloadBytes, uint64_t deadline) {
  team_ = team;
  rank_ = team->rank();
  ranks_ = team->size();
  payloadAt_ = aligned(sizeof(Header) + kChannels * static_cast<size_t>(ranks_) * sizeof(Mailbox), 4096);
  return team->shareSegments(payloadAt_ + payloadBytes, &segments_, deadline);
}

std::atomic<uint64_t>& Exchange::mail(Channel channel, int source, int destination) const {
  unsigned char* const boxes = segments_[static_cast<size_t>(destination)]->data() + sizeof(Header);
  const size_t index = static_cast<size_t>(channel) * static_cast<size_t>(ranks_) + static_cast<size_t>(source);
  return reinterpret_cast<Mailbox*>(boxes)[index].word;
}

Arrival Exchange::wait(Channel channel, int other, const std::function<bool()>& ready, uint64_t deadline) const {
  // What goes around in collectives of the communicator ends with it.
  const auto failed = [this, channel] { return channel == Channel::Routing && team_->failed(); };
  const auto cancelled = [&] { return team_->aborted() || !team_->alive(other) || failed(); };
  switch (waitUntil(header(rank_).changed, ready, deadline, cancelled)) {
    case WaitEnd::Ready: return Arrival::Here;
    case WaitEnd::Timeout: return Arrival::Late;
    default: break;
  }
  if (ready()) return Arrival::Here;  // posted, then died
  return team_->aborted() || waitsBroken() || failed() ? Arrival::Broken : Arrival::Gone;
}

// The destination announces whom it waits for before it looks into the mailbox a last time, and the source looks at
// that after it has posted. Sequential consistency makes sure that one of the two notices the other.
Arrival Exchange::waitForPost(Channel channel, int source, const std::function<bool()>& ready,
                              uint64_t deadline) const {
  std::atomic<uint32_t>& awaited = header(rank_).awaited[static_cast<size_t>(channel)];
  awaited.store(static_cast<uint32_t>(source) + 1, std::memory_order_seq_cst);
  const Arrival arrival = wait(channel, source, ready, deadline);
  awaited.store(0, std::memory_order_relaxed);
  return arrival;
}

void Exchange::post(Channel channel, int destination, uint64_t value) {
  mail(channel, rank_, destination).store(value << kValueShift | kFull, std::memory_order_seq_cst);
  Header& other = header(destination);
  const uint32_t awaited = other.awaited[static_cast<size_t>(channel)].load(std::memory_order_seq_cst);
  if (awaited == static_cast<uint32_t>(rank_) + 1) other.changed.notifyAll();
}

// Asks the destination to notify when it empties the mailbox; false if it is empty already.
bool Exchange::requestNotice(std::atomic<uint64_t>& word) const {
  uint64_t seen = word.load(std::memory_order_acquire);
  while (seen != 0 && !word.compare_exchange_weak(seen, seen | kSourceWaits, std::memory_order_acq_rel)) {
  }
  return seen != 0;
}

Arrival Exchange::awaitEmptied(Channel channel, int destination, uint64_t deadline) {
  std::atomic<uint64_t>& word = mail(channel, rank_, destination);
  if (!requestNotice(word)) return Arrival::Here;
  return wait(channel, destination, [&word] { return word.load(std::memory_order_acquire) == 0; }, deadline);
}

void Exchange::retract(Channel channel, int destination) {
  std::atomic<uint64_t>& word = mail(channel, rank_, destination);
  uint64_t seen = word.load(std::memory_order_acquire);
  while (seen != 0) {
    if ((seen & kReading) == 0) {
      if (word.compare_exchange_weak(seen, 0, std::memory_order_acq_rel)) return;
    } else if (awaitEmptied(channel, destination, kNoDeadline) == Arrival::Here) {
      return;
    } else {
      word.store(0, std::memory_order_release);  // the reader is gone, or nothing will be waited for any more
      return;
    }
  }
}

Arrival Exchange::receive(Channel channel, int source, uint64_t deadline, bool deaf, uint64_t* value) {
  std::atomic<uint64_t>& word = mail(channel, source, rank_);
  uint64_t seen = deaf ? 0 : word.load(std::memory_order_acquire);
  while (true) {
    if ((seen & kFull) == 0) {
      const auto ready = [&word, &seen, deaf] {
        seen = word.load(std::memory_order_seq_cst);
        return !deaf && (seen & kFull) != 0;
      };
      const Arrival arrival = waitForPost(channel, source, ready, deadline);
      if (arrival != Arrival::Here) return arrival;
    }
    if (word.compare_exchange_strong(seen, seen | kReading, std::memory_order_acq_rel)) break;
  }
  *value = seen >> kValueShift;
  return Arrival::Here;
}

void Exchange::release(Channel channel, int source) {
  const uint64_t old = mail(channel, source, rank_).exchange(0, std::memory_order_acq_rel);
  if ((old & kSourceWaits) != 0) header(source).changed.notifyAll();
}

void Exchange::clear(Channel channel) {
  for (int source = 0; source < ranks_; ++source) release(channel, source);
}

Arrival Exchange::awaitValue(Channel channel, int source, uint64_t value, uint64_t deadline) {
  std::atomic<uint64_t>& word = mail(channel, source, rank_);
  const auto ready = [&word, value] {
    const uint64_t seen = word.load(std::memory_order_seq_cst);
    return (seen & kFull) != 0 && seen >> kValueShift == value;
  };
  return waitForPost(channel, source, ready, deadline);
}

void Exchange::started(Operation operation) {
  std::atomic<uint64_t>& position = header(rank_).position;
  const uint64_t count = (position.load(std::memory_order_relaxed) >> 8) + 1;
  position.store(count << 8 | static_cast<uint64_t>(operation), std::memory_order_relaxed);
}

std::string Exchange::progressOf(int rank) const {
  const uint64_t position = header(rank).position.load(std::memory_order_relaxed);
  char text[96];
  if (!team_->alive(rank)) {
    std::snprintf(text, sizeof text, "rank %d (its process ended, or it aborted)", rank);
  } else if (position == 0) {
    std::snprintf(text, sizeof text, "rank %d (started no operation of this group yet)", rank);
  } else {
    std::snprintf(text, sizeof text, "rank %d (last started %s, operation %llu of this group)", rank,
                  nameOf(static_cast<Operation>(position & 0xff)), static_cast<unsigned long long>(position >> 8));
  }
  return text;
}

}  // namespace emu::ep
