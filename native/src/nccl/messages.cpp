#include "nccl/operation.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <string>

#include "nccl/arguments.h"

namespace emu::nccl {

namespace {

// One message on its way, seen from one end.
struct Transfer {
  const Operation* operation;
  unsigned char* data;
  size_t bytes;
  size_t moved = 0;
  bool started = false;
};

class Exchange {
 public:
  Exchange(DeviceWait& wait, WorkContext& context) : wait_(wait), ranks_(wait.ranks()), context_(context) {}

  void run(const std::vector<Operation>& operations) {
    for (const Operation& operation : operations) add(operation);
    while (!done()) {
      while (progress()) {
      }
      if (!done()) wait();
    }
  }

 private:
  using Queues = std::map<int, std::deque<Transfer>>;  // by peer

  void add(const Operation& operation) {
    const bool sending = operation.kind == Kind::Send;
    const void* buffer = sending ? operation.send : operation.recv;
    const size_t bytes = operation.count * sizeOf(operation.type);
    const std::string what = std::string(operation.function) + " on rank " + std::to_string(ranks_.rank()) +
                             (sending ? ": sendbuff to rank " : ": recvbuff from rank ") +
                             std::to_string(operation.root);
    context_.touch(what.c_str(), buffer, bytes);
    Queues& queues = sending ? sends_ : receives_;
    queues[operation.root].push_back({&operation, static_cast<unsigned char*>(const_cast<void*>(buffer)), bytes});
  }

  bool done() const { return sends_.empty() && receives_.empty(); }

  arena::Ring& ring(int from, int to) { return ranks_.area(from).rings[to]; }

  bool canSend(int peer) {
    const arena::Ring& out = ring(ranks_.rank(), peer);
    return out.posted.load(std::memory_order_relaxed) - out.taken.load(std::memory_order_acquire) < arena::kRingSlots;
  }

  bool canReceive(int peer) {
    const arena::Ring& in = ring(peer, ranks_.rank());
    return in.posted.load(std::memory_order_acquire) > in.taken.load(std::memory_order_relaxed);
  }

  // Moves one piece for every peer that is ready; true if any moved.
  bool progress() {
    const bool sent = moveEach(sends_, &Exchange::canSend, &Exchange::sendPiece);
    const bool received = moveEach(receives_, &Exchange::canReceive, &Exchange::receivePiece);
    return sent || received;
  }

  bool moveEach(Queues& queues, bool (Exchange::*ready)(int), void (Exchange::*move)(int, std::deque<Transfer>&)) {
    bool moved = false;
    for (auto it = queues.begin(); it != queues.end();) {
      if ((this->*ready)(it->first)) {
        (this->*move)(it->first, it->second);
        moved = true;
      }
      it = it->second.empty() ? queues.erase(it) : std::next(it);
    }
    return moved;
  }

  void sendPiece(int peer, std::deque<Transfer>& queue) {
    Transfer& transfer = queue.front();
    arena::RankArea& area = ranks_.area(ranks_.rank());
    arena::Ring& out = area.rings[peer];
    const uint64_t posted = out.posted.load(std::memory_order_relaxed);
    const size_t slot = posted % arena::kRingSlots;
    const size_t part = std::min(arena::kRingSlotBytes, transfer.bytes - transfer.moved);
    out.slots[slot] = {transfer.bytes, part};
    if (part > 0) memcpy(area.messages[peer][slot], transfer.data + transfer.moved, part);
    transfer.moved += part;
    out.posted.store(posted + 1, std::memory_order_release);
    ranks_.control().ranks[peer].messages.notifyAll();
    if (transfer.moved == transfer.bytes) queue.pop_front();
  }

  void receivePiece(int peer, std::deque<Transfer>& queue) {
    Transfer& transfer = queue.front();
    arena::RankArea& area = ranks_.area(peer);
    arena::Ring& in = area.rings[ranks_.rank()];
    const uint64_t taken = in.taken.load(std::memory_order_relaxed);
    const size_t slot = taken % arena::kRingSlots;
    const uint64_t sent = in.slots[slot].messageBytes;
    if (!transfer.started && sent != transfer.bytes) {
      throw outcomeOf(TeamResult::Mismatch, "ncclRecv of " + std::to_string(transfer.bytes) +
                                                " bytes meets ncclSend of " + std::to_string(sent) +
                                                " bytes from rank " + std::to_string(peer));
    }
    transfer.started = true;
    const size_t part = static_cast<size_t>(in.slots[slot].bytes);
    if (part > 0) memcpy(transfer.data + transfer.moved, area.messages[ranks_.rank()][slot], part);
    transfer.moved += part;
    in.taken.store(taken + 1, std::memory_order_release);
    ranks_.control().ranks[peer].messages.notifyAll();
    if (transfer.moved == transfer.bytes) queue.pop_front();
  }

  void wait() {
    wait_.await(
        ranks_.state().messages,
        [&] {
          return std::any_of(sends_.begin(), sends_.end(), [&](const auto& entry) { return canSend(entry.first); }) ||
                 std::any_of(receives_.begin(), receives_.end(),
                             [&](const auto& entry) { return canReceive(entry.first); });
        },
        [&](int rank) {
          return (sends_.count(rank) != 0 && !canSend(rank)) || (receives_.count(rank) != 0 && !canReceive(rank));
        });
  }

  DeviceWait& wait_;
  Team& ranks_;
  WorkContext& context_;
  Queues sends_;
  Queues receives_;
};

}  // namespace

void runMessages(DeviceWait& wait, const std::vector<Operation>& operations, WorkContext& context) {
  Exchange(wait, context).run(operations);
}

}  // namespace emu::nccl
