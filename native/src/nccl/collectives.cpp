#include "nccl/collectives.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "nccl/data_types.h"
#include "nccl/rounds.h"

namespace emu::nccl {

namespace {

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
        root_(operation.root == rank_) {}

  Outcome run() {
    if (!accessible()) return outcome_;
    switch (operation_.kind) {
      case Kind::AllGather: allGather(); break;
      case Kind::AllReduce: allReduce(); break;
      case Kind::AlltoAll: allToAll(); break;
      case Kind::Broadcast: broadcast(); break;
      case Kind::Gather: gather(); break;
      case Kind::Reduce: reduceToRoot(); break;
      case Kind::ReduceScatter: reduceScatter(); break;
      case Kind::Scatter: scatter(); break;
      case Kind::Send:
      case Kind::Recv: break;
    }
    return outcome_;
  }

 private:
  // ---- addresses ----

  bool touch(const char* tensor, const void* address, size_t bytes) {
    const std::string what =
        std::string(operation_.function) + " on rank " + std::to_string(rank_) + ": " + tensor;
    if (context_.touch(what.c_str(), address, bytes)) return true;
    outcome_ = {cudaErrorIllegalAddress, ncclUnhandledCudaError, context_.text()};
    return false;
  }

  bool accessible() {
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
    if (!touch("sendbuff", send_, sent) || !touch("recvbuff", recv_, received)) return false;
    if (operation_.reducer != Reducer::PreMulSum || !operation_.factor->onDevice) return true;
    return touch("scalar of the reduction operator", operation_.factor->device, element_);
  }

  // ---- data ----

  size_t share() const {  // what a round holds for each of the ranks
    return arena::kChunkBytes / size_ / element_ * element_;
  }

  // Puts input of a reduction into the send buffer.
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
    for (size_t rank = 0; rank < size_; ++rank) sources_[rank] = rounds_.of(static_cast<int>(rank)) + offset;
    reduce(operation_.type, operation_.reducer, sources_.data(), static_cast<int>(size_), out, bytes / element_);
  }

  // Calls body(done, part) for pieces of `most` bytes until it answers false.
  template <class Body>
  void inPieces(size_t most, Body body) {
    for (size_t done = 0; done < bytes_; done += most) {
      if (!body(done, std::min(most, bytes_ - done))) return;
    }
  }

  void allGather() {
    inPieces(arena::kChunkBytes, [&](size_t done, size_t part) {
      copy(rounds_.mine(), send_ + done, part);
      if (!rounds_.post(&outcome_)) return false;
      for (size_t rank = 0; rank < size_; ++rank) {
        copy(recv_ + rank * bytes_ + done, rounds_.of(static_cast<int>(rank)), part);
      }
      return true;
    });
  }

  void allReduce() {
    inPieces(arena::kChunkBytes, [&](size_t done, size_t part) {
      contribute(rounds_.mine(), send_ + done, part);
      if (!rounds_.post(&outcome_)) return false;
      if (part <= kReduceAlone) {
        fold(0, part, recv_ + done);
        return true;
      }
      // Each rank reduces its share for all.
      const size_t slice = (part / element_ + size_ - 1) / size_ * element_;
      const auto start = [&](size_t rank) { return std::min(part, rank * slice); };
      const size_t own = static_cast<size_t>(rank_);
      fold(start(own), start(own + 1) - start(own), rounds_.mine());
      if (!rounds_.post(&outcome_)) return false;
      for (size_t rank = 0; rank < size_; ++rank) {
        copy(recv_ + done + start(rank), rounds_.of(static_cast<int>(rank)), start(rank + 1) - start(rank));
      }
      return true;
    });
  }

  void reduceToRoot() {
    inPieces(arena::kChunkBytes, [&](size_t done, size_t part) {
      contribute(rounds_.mine(), send_ + done, part);
      if (!rounds_.post(&outcome_)) return false;
      if (root_) fold(0, part, recv_ + done);
      return true;
    });
  }

  void broadcast() {
    inPieces(arena::kChunkBytes, [&](size_t done, size_t part) {
      if (root_) copy(rounds_.mine(), send_ + done, part);
      if (!rounds_.post(&outcome_)) return false;
      copy(recv_ + done, rounds_.of(operation_.root), part);
      return true;
    });
  }

  void gather() {
    inPieces(arena::kChunkBytes, [&](size_t done, size_t part) {
      copy(rounds_.mine(), send_ + done, part);
      if (!rounds_.post(&outcome_)) return false;
      for (size_t rank = 0; root_ && rank < size_; ++rank) {
        copy(recv_ + rank * bytes_ + done, rounds_.of(static_cast<int>(rank)), part);
      }
      return true;
    });
  }

  void scatter() {
    inPieces(share(), [&](size_t done, size_t part) {
      for (size_t rank = 0; root_ && rank < size_; ++rank) {
        copy(rounds_.mine() + rank * part, send_ + rank * bytes_ + done, part);
      }
      if (!rounds_.post(&outcome_)) return false;
      copy(recv_ + done, rounds_.of(operation_.root) + static_cast<size_t>(rank_) * part, part);
      return true;
    });
  }

  void allToAll() {
    inPieces(share(), [&](size_t done, size_t part) {
      for (size_t rank = 0; rank < size_; ++rank) {
        copy(rounds_.mine() + rank * part, send_ + rank * bytes_ + done, part);
      }
      if (!rounds_.post(&outcome_)) return false;
      for (size_t rank = 0; rank < size_; ++rank) {
        copy(recv_ + rank * bytes_ + done, rounds_.of(static_cast<int>(rank)) + static_cast<size_t>(rank_) * part, part);
      }
      return true;
    });
  }

  void reduceScatter() {
    inPieces(share(), [&](size_t done, size_t part) {
      for (size_t rank = 0; rank < size_; ++rank) {
        contribute(rounds_.mine() + rank * part, send_ + rank * bytes_ + done, part);
      }
      if (!rounds_.post(&outcome_)) return false;
      fold(static_cast<size_t>(rank_) * part, part, recv_ + done);
      return true;
    });
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
  const bool root_;
  std::vector<const unsigned char*> sources_;
  Outcome outcome_;
};

}  // namespace

Outcome runCollective(DeviceWait& wait, const Operation& operation, WorkContext& context) {
  return Run(wait, operation, context).run();
}

}  // namespace emu::nccl
