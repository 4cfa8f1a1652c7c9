#include "nccl/rounds.h"

#include <string>

#include "nccl/data_types.h"

namespace emu::nccl {

namespace {

const char* nameOf(uint32_t kind) {
  switch (static_cast<Kind>(kind)) {
    case Kind::AllGather: return "ncclAllGather";
    case Kind::AllReduce: return "ncclAllReduce";
    case Kind::AlltoAll: return "ncclAlltoAll";
    case Kind::Broadcast: return "ncclBroadcast";
    case Kind::Gather: return "ncclGather";
    case Kind::Reduce: return "ncclReduce";
    case Kind::ReduceScatter: return "ncclReduceScatter";
    case Kind::Scatter: return "ncclScatter";
    case Kind::Send: return "ncclSend";
    case Kind::Recv: return "ncclRecv";
  }
  return "something unknown";
}

// Operations that only move data are the same if they move the same bytes.
arena::Statement statementOf(const Operation& operation, uint64_t round) {
  const bool reduces = operation.reduces();
  return {static_cast<uint32_t>(operation.kind),
          reduces ? static_cast<uint32_t>(operation.type) : 0,
          reduces ? static_cast<uint32_t>(operation.reducer) : 0,
          operation.root,
          reduces ? operation.count : operation.count * sizeOf(operation.type),
          round};
}

bool same(const arena::Statement& a, const arena::Statement& b) {
  return a.operation == b.operation && a.datatype == b.datatype && a.reduction == b.reduction && a.root == b.root &&
         a.count == b.count && a.round == b.round;
}

std::string describe(int rank, const arena::Statement& statement) {
  return "rank " + std::to_string(rank) + ": " + nameOf(statement.operation) + "(count or bytes " +
         std::to_string(statement.count) + ", datatype " + std::to_string(statement.datatype) + ", reduction " +
         std::to_string(statement.reduction) + ", root " + std::to_string(statement.root) + ")";
}

}  // namespace

Rounds::Rounds(DeviceWait& wait, const Operation& operation)
    : wait_(wait),
      ranks_(wait.ranks()),
      operation_(operation),
      round_(ranks_.state().deviceRound.load(std::memory_order_relaxed)) {}

unsigned char* Rounds::mine() { return ranks_.area(ranks_.rank()).chunks[(round_ + 1) & 1]; }

const unsigned char* Rounds::of(int rank) { return ranks_.area(rank).chunks[round_ & 1]; }

bool Rounds::post(Outcome* outcome) {
  arena::Rounds& shared = ranks_.control().device;
  const uint64_t round = ++round_;
  const uint64_t all = round * static_cast<uint64_t>(ranks_.size());
  const arena::Statement statement = statementOf(operation_, ++ownRound_);
  ranks_.area(ranks_.rank()).statements[round & 1] = statement;
  ranks_.state().deviceRound.store(round, std::memory_order_release);
  if (shared.posts.fetch_add(1, std::memory_order_acq_rel) + 1 == all) shared.changed.notifyAll();

  const bool met = wait_.await(
      shared.changed, [&] { return shared.posts.load(std::memory_order_acquire) >= all; },
      [&](int rank) { return ranks_.control().ranks[rank].deviceRound.load(std::memory_order_acquire) < round; }, outcome);
  if (!met) return false;
  for (int rank = 0; rank < ranks_.size(); ++rank) {
    const arena::Statement& other = ranks_.area(rank).statements[round & 1];
    if (same(statement, other)) continue;
    *outcome = outcomeOf(TeamResult::Mismatch, "the ranks called different operations: " +
                                                   describe(ranks_.rank(), statement) + "; " + describe(rank, other));
    return false;
  }
  return true;
}

}  // namespace emu::nccl
