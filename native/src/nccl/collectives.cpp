#include "nccl/operation.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "nccl/arguments.h"

namespace emu::nccl {

namespace {

// Rounds of a collective: every rank puts a chunk into its send buffer, posts it, waits for all others, and reads
// theirs.
class Rounds {
 public:
  Rounds(DeviceWait& wait, const Operation& operation)
      : wait_(wait),
        ranks_(wait.ranks()),
        text_(describe(operation)),
        round_(ranks_.state().deviceRound.load(std::memory_order_relaxed)) {}

  // Where this rank's data of the next round goes; arena::kChunkBytes.
  unsigned char* mine() { return ranks_.area(ranks_.rank()).chunks[(round_ + 1) & 1]; }
  // Posts it and waits for everyone.
  void post();
  // What a rank posted in the last round; valid until the post after the next one.
  const unsigned char* of(int rank) { return ranks_.area(rank).chunks[round_ & 1]; }

 private:
  DeviceWait& wait_;
  Team& ranks_;
  const std::string text_;  // of the operation
  uint64_t round_;         // of the communicator, the last posted
  uint64_t ownRound_ = 0;  // of this operation
};

void Rounds::post() {
  arena::Rounds& shared = ranks_.control().device;
  const uint64_t round = ++round_;
  const uint64_t all = round * static_cast<uint64_t>(ranks_.size());
  arena::Statement& mine = ranks_.area(ranks_.rank()).statements[round & 1];
  mine.round = ++ownRound_;
  snprintf(mine.text, sizeof mine.text, "%s", text_.c_str());
  ranks_.state().deviceRound.store(round, std::memory_order_release);
  if (shared.posts.fetch_add(1, std::memory_order_acq_rel) + 1 == all) shared.changed.notifyAll();

  wait_.await(
      shared.changed, [&] { return shared.posts.load(std::memory_order_acquire) >= all; },
      [&](int rank) { return ranks_.control().ranks[rank].deviceRound.load(std::memory_order_acquire) < round; });
  for (int rank = 0; rank < ranks_.size(); ++rank) {
    const arena::Statement& other = ranks_.area(rank).statements[round & 1];
    if (mine.round == other.round && strcmp(mine.text, other.text) == 0) continue;
    throw outcomeOf(TeamResult::Mismatch, std::string("the ranks called different operations: ") + mine.text +
                                              " on rank " + std::to_string(ranks_.rank()) + " and " + other.text +
                                              " on rank " + std::to_string(rank));
  }
}

// Up to here every rank reduces everything itself, which saves a round.
constexpr size_t kReduceAlone = 16 * 1024;

void copy(unsigned char* to, const unsigned char* from, size_t bytes) {
  if (to != from && bytes > 0) memmove(to, from, bytes);
}

class Run {
 public:
  Run(DeviceWait& wait, const Operation& operation, WorkContext& context)
      : operation_(operation),
        context_(context),
        rounds_(wait, operation),
        rank_(wait.ranks().rank()),
        size_(static_cast<size_t>(wait.ranks().size())),
        element_(sizeOf(operation.type)),
        bytes_(operation.count * element_),
        send_(static_cast<const unsigned char*>(operation.send)),
        recv_(static_cast<unsigned char*>(operation.recv)),
        own_(static_cast<size_t>(rank_)),
        root_(operation.root == rank_) {}

  void run() {
    constexpr size_t kWhole = arena::kChunkBytes;
    const size_t share = kWhole / size_ / element_ * element_;  // of a round for each of the ranks
    checkAddresses();
    switch (operation_.kind) {
      case Kind::AllGather: inPieces(kWhole, &Run::put, &Run::takeEach); break;
      case Kind::AllReduce: inPieces(kWhole, &Run::put, &Run::reduceTogether); break;
      case Kind::AlltoAll: inPieces(share, &Run::putForEach, &Run::takeOwnOfEach); break;
      case Kind::Broadcast: inPieces(kWhole, root_ ? &Run::put : &Run::nothing, &Run::takeRoots); break;
      case Kind::Gather: inPieces(kWhole, &Run::put, root_ ? &Run::takeEach : &Run::nothing); break;
      case Kind::Reduce: inPieces(kWhole, &Run::put, root_ ? &Run::reduceAll : &Run::nothing); break;
      case Kind::ReduceScatter: inPieces(share, &Run::putForEach, &Run::reduceOwn); break;
      case Kind::Scatter: inPieces(share, root_ ? &Run::putForEach : &Run::nothing, &Run::takeOwnOfRoots); break;
      case Kind::Send:
      case Kind::Recv: break;
    }
  }

 private:
  // ---- addresses ----

  void touch(const char* tensor, const void* address, size_t bytes) {
    const std::string what = std::string(operation_.function) + " on rank " + std::to_string(rank_) + ": " + tensor;
    context_.touch(what.c_str(), address, bytes);
  }

  void checkAddresses() {
    const size_t all = bytes_ * size_;
    size_t sent = bytes_;
    size_t received = bytes_;
    switch (operation_.kind) {
      case Kind::AllGather: received = all; break;
      case Kind::AlltoAll: sent = received = all; break;
      case Kind::ReduceScatter: sent = all; break;
      case Kind::Broadcast: sent = root_ ? bytes_ : 0; break;
      case Kind::Reduce: received = root_ ? bytes_ : 0; break;
      case Kind::Gather: received = root_ ? all : 0; break;
      case Kind::Scatter: sent = root_ ? all : 0; break;
      default: break;
    }
    touch("sendbuff", send_, sent);
    touch("recvbuff", recv_, received);
    if (operation_.reducer != Reducer::PreMulSum || !operation_.factor->onDevice) return;
    touch("scalar of the reduction operator", operation_.factor->device, element_);
  }

  // ---- rounds ----

  // What happens to `part` bytes of each rank's data, the first `done` having been dealt with.
  using Step = void (Run::*)(size_t done, size_t part);

  // A round for each piece of at most `most` bytes, with a step before and one after all ranks have met.
  void inPieces(size_t most, Step before, Step after) {
    for (size_t done = 0; done < bytes_; done += most) {
      const size_t part = std::min(most, bytes_ - done);
      (this->*before)(done, part);
      rounds_.post();
      (this->*after)(done, part);
    }
  }

  const unsigned char* of(size_t rank) { return rounds_.of(static_cast<int>(rank)); }

  // Puts bytes into the send buffer; input of a reduction is multiplied if the operator says so.
  void contribute(unsigned char* to, const unsigned char* from, size_t bytes) {
    if (operation_.reducer != Reducer::PreMulSum) {
      copy(to, from, bytes);
      return;
    }
    const PreMulSum& factor = *operation_.factor;
    scale(operation_.type, factor.onDevice ? factor.device : factor.immediate, from, to, bytes / element_);
  }

  // Reduces bytes [offset, offset + bytes) of all send buffers.
  void fold(size_t offset, size_t bytes, unsigned char* out) {
    sources_.resize(size_);
    for (size_t rank = 0; rank < size_; ++rank) sources_[rank] = of(rank) + offset;
    reduce(operation_.type, operation_.reducer, sources_.data(), static_cast<int>(size_), out, bytes / element_);
  }

  // ---- steps ----

  void nothing(size_t, size_t) {}

  void put(size_t done, size_t part) { contribute(rounds_.mine(), send_ + done, part); }

  void putForEach(size_t done, size_t part) {
    for (size_t rank = 0; rank < size_; ++rank) {
      contribute(rounds_.mine() + rank * part, send_ + rank * bytes_ + done, part);
    }
  }

  void takeEach(size_t done, size_t part) {
    for (size_t rank = 0; rank < size_; ++rank) copy(recv_ + rank * bytes_ + done, of(rank), part);
  }

  void takeOwnOfEach(size_t done, size_t part) {
    for (size_t rank = 0; rank < size_; ++rank) copy(recv_ + rank * bytes_ + done, of(rank) + own_ * part, part);
  }

  void takeRoots(size_t done, size_t part) { copy(recv_ + done, rounds_.of(operation_.root), part); }

  void takeOwnOfRoots(size_t done, size_t part) { copy(recv_ + done, rounds_.of(operation_.root) + own_ * part, part); }

  void reduceAll(size_t done, size_t part) { fold(0, part, recv_ + done); }

  void reduceOwn(size_t done, size_t part) { fold(own_ * part, part, recv_ + done); }

  void reduceTogether(size_t done, size_t part) {
    if (part <= kReduceAlone) return reduceAll(done, part);
    // Each rank reduces its share for all.
    const size_t slice = (part / element_ + size_ - 1) / size_ * element_;
    const auto start = [&](size_t rank) { return std::min(part, rank * slice); };
    fold(start(own_), start(own_ + 1) - start(own_), rounds_.mine());
    rounds_.post();
    for (size_t rank = 0; rank < size_; ++rank) {
      copy(recv_ + done + start(rank), of(rank), start(rank + 1) - start(rank));
    }
  }

  const Operation& operation_;
  WorkContext& context_;
  Rounds rounds_;
  const int rank_;
  const size_t size_;
  const size_t element_;
  const size_t bytes_;  // of one rank's part
  const unsigned char* const send_;
  unsigned char* const recv_;
  const size_t own_;  // rank_
  const bool root_;
  std::vector<const unsigned char*> sources_;
};

}  // namespace

void runCollective(DeviceWait& wait, const Operation& operation, WorkContext& context) {
  Run(wait, operation, context).run();
}

}  // namespace emu::nccl
