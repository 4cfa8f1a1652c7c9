#include <cstring>

#include "base/misuse.h"
#include "ep/ll/dispatch.h"
#include "ep/ll/records.h"
#include "ep/numeric/quantise.h"
#include "ep/reading_turns.h"
#include "ep/routing.h"
#include "ep/touch.h"

namespace emu::ep {

cudaError_t LlDispatch::run(WorkContext& context) const {
  LlTurn turn(*group, ticket, context);
  if (const cudaError_t error = turn.startSend()) return error;
  if (const cudaError_t error = stage(context, turn)) return error;
  if (const cudaError_t error = collect(context, turn)) return error;
  turn.finishReceive();
  return cudaSuccess;
}

cudaError_t LlDispatch::send(WorkContext& context) const {
  LlTurn turn(*group, ticket, context);
  if (const cudaError_t error = turn.startSend()) return error;
  if (const cudaError_t error = stage(context, turn)) return error;
  turn.finishSend();
  return cudaSuccess;
}

cudaError_t LlDispatch::receive(WorkContext& context) const {
  LlTurn turn(*group, ticket, context);
  if (const cudaError_t error = turn.startReceive()) return error;
  if (const cudaError_t error = collect(context, turn)) return error;
  turn.finishReceive();
  return cudaSuccess;
}

// Writes this rank's bank and tells everybody.
cudaError_t LlDispatch::stage(WorkContext& context, LlTurn& turn) const {
  const Shape& shape = group->shape;
  const size_t received = shape.ranks * shape.maxDispatch * topk;
  Touch touch(context, ticket.function, group->rank);
  touch("topk_idx", routing, RoutingReader::bytes(tokens * topk, wideRouting));
  touch("inputs.tokens", in, tokens * inputBytes);
  if (inScales != nullptr) touch("inputs.scales", inScales, tokens * scaleBytes);
  if (rankMajor) {
    touch("inputs.topk_weights", inWeights, tokens * topk * sizeof(float));
    touch("outputs.topk_idx", outIds, received * sizeof(int32_t));
  } else {
    touch("expert_counters", expertCounters, shape.local() * sizeof(int32_t));
  }
  if (!touch.good()) return cudaErrorIllegalAddress;
  if (shape.experts < 2) {
    return context.fail(cudaErrorLaunchFailure, "%s on rank %d: the kernel needs two thread blocks, hence two experts",
                        ticket.function, group->rank);
  }
  if (rankMajor) std::memset(outIds, 0xff, received * sizeof(int32_t));
  if (!rankMajor) std::memset(expertCounters, 0, shape.local() * sizeof(int32_t));

  const Bank bank = turn.mine();
  BankHeader& header = bank.header();
  header.operation = static_cast<uint32_t>(Operation::Dispatch);
  header.layout = rankMajor ? NCCL_EP_LAYOUT_RANK_MAJOR : NCCL_EP_LAYOUT_EXPERT_MAJOR;
  header.topk = static_cast<uint32_t>(topk);
  header.rowBytes = static_cast<uint32_t>(tokenBytes + scaleBytes);
  header.tokensWindow = tokensWindow;
  header.scalesWindow = scalesWindow;

  // A token goes once to each rank that owns one of its experts: count, then list.
  LlState& ll = group->ll;
  const size_t local = shape.local();
  const RoutingReader reader(routing, wideRouting);
  ExpertCheck check(ticket.function, group->rank, shape.experts);
  int32_t* const ids = bank.ids();
  uint32_t* const first = bank.first();
  std::memset(first, 0, (shape.ranks + 1) * sizeof(uint32_t));
  ll.lastToken.assign(shape.ranks, 0);
  const auto eachDestination = [&](size_t t, const auto& visit) {
    const auto mark = static_cast<uint32_t>(t + 1);
    for (size_t k = 0; k < topk; ++k) {
      if (ids[t * topk + k] < 0) continue;
      const size_t destination = static_cast<size_t>(ids[t * topk + k]) / local;
      if (ll.lastToken[destination] == mark) continue;
      ll.lastToken[destination] = mark;
      if (ll.active(static_cast<int>(destination))) visit(destination);
    }
  };
  const RowCopier rows = copier();
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t k = 0; k < topk; ++k) ids[t * topk + k] = check(reader.at(t * topk + k));
    bool leaves = false;
    eachDestination(t, [&](size_t destination) {
      ++first[destination + 1];
      leaves = true;
    });
    if (leaves) stageRow(bank.dispatchRow(t), t, rows);
  }
  rows.finish();
  for (size_t r = 0; r < shape.ranks; ++r) first[r + 1] += first[r];
  ll.perRank.assign(first, first + shape.ranks);
  ll.lastToken.assign(shape.ranks, 0);
  uint32_t* const list = bank.tokenList();
  for (size_t t = 0; t < tokens; ++t) {
    eachDestination(t, [&](size_t destination) { list[ll.perRank[destination]++] = static_cast<uint32_t>(t); });
  }
  if (rankMajor && tokens > 0) std::memcpy(bank.weights(), inWeights, tokens * topk * sizeof(float));

  for (int r = 0; r < group->ranks; ++r) {
    if (ll.active(r)) turn.post(r, first[r + 1] - first[r]);
  }
  return cudaSuccess;
}

// The only copy of a row on the sending side.
void LlDispatch::stageRow(unsigned char* to, size_t token, const RowCopier& copier) const {
  const unsigned char* const from = in + token * inputBytes;
  if (recipe == NCCL_EP_DISP_QUANT_DS_FP8E3M4) {
    quantiseFp8(reinterpret_cast<const uint16_t*>(from), elements, roundScales, to, reinterpret_cast<float*>(to + tokenBytes));
    return;
  }
  copier.copy(to, from, tokenBytes);
  if (scaleBytes > 0) std::memcpy(to + tokenBytes, inScales + token * scaleBytes, scaleBytes);
}

// Pulls what the others have for this rank.
cudaError_t LlDispatch::collect(WorkContext& context, LlTurn& turn) const {
  const Shape& shape = group->shape;
  const size_t rows = rankMajor ? shape.ranks * shape.maxDispatch : shape.local() * zoneRows();
  Touch touch(context, ticket.function, group->rank);
  touch("outputs.tokens", out, rows * tokenBytes);
  if (scaleBytes > 0) touch("outputs.scales", outScales, rows * scaleBytes);
  if (rankMajor) {
    touch("outputs.topk_weights", outWeights, rows * topk * sizeof(float));
    touch("outputs.topk_idx", outIds, rows * topk * sizeof(int32_t));
    if (sourceCounters != nullptr) touch("src_rank_counters", sourceCounters, shape.ranks * sizeof(int32_t));
  } else {
    touch("expert_counters", expertCounters, shape.local() * sizeof(int32_t));
  }
  touch("handle memory", block, llHandleBytes(shape, topk));
  if (!touch.good()) return cudaErrorIllegalAddress;
  if (rankMajor && idKind > NCCL_EP_EXPERT_ID_GLOBAL) {
    return context.fail(cudaErrorLaunchFailure, "%s on rank %d: recv_topk_idx_kind %u", ticket.function, group->rank, idKind);
  }

  const LlRecords records(block, shape, topk);
  const RowCopier copier = this->copier();
  // The others have about as many tokens as this rank.
  ReadingTurns turns(group->ranks, tokens * tokenBytes);
  for (const int32_t source : turn.sourceOrder()) {
    turns.next();
    records.count(static_cast<size_t>(source)) = 0;
    bool present = false;
    uint32_t count = 0;
    if (const cudaError_t error = turn.receive(source, &present, &count)) return error;
    if (present) {
      const cudaError_t error = take(context, turn, source, count, copier);
      turn.release(source);
      if (error != cudaSuccess) return error;
      records.count(static_cast<size_t>(source)) = static_cast<int32_t>(count);
    }
    if (sourceCounters != nullptr) sourceCounters[source] = static_cast<int32_t>(count);
  }
  return cudaSuccess;
}

cudaError_t LlDispatch::take(WorkContext& context, const LlTurn& turn, int source, uint32_t count, const RowCopier& copier) const {
  const Shape& shape = group->shape;
  const Bank from = turn.bank(source);
  const BankHeader& header = from.header();
  if (header.topk != topk || header.rowBytes != tokenBytes + scaleBytes || (header.layout == NCCL_EP_LAYOUT_RANK_MAJOR) != rankMajor) {
    return context.fail(cudaErrorLaunchFailure, "%s: ranks %d and %d differ in top-k, row bytes, or layout", ticket.function,
                        group->rank, source);
  }
  if (header.tokensWindow != tokensWindow || header.scalesWindow != scalesWindow) {
    return context.fail(cudaErrorLaunchFailure, "%s: the windows of ranks %d and %d differ in registration order or offset",
                        ticket.function, group->rank, source);
  }
  const LlRecords records(block, shape, topk);
  const uint32_t* const list = from.tokenList() + from.first()[group->rank];
  turn.shuffled(&group->ll.order, count, static_cast<uint64_t>(source) + 1);
  for (size_t i = 0; i < count; ++i) {
    const uint32_t token = list[group->ll.order[i]];
    int32_t* const record = records.entry(static_cast<size_t>(source), i);
    record[0] = static_cast<int32_t>(token);
    if (rankMajor) {
      takeRankRow(from, token, static_cast<size_t>(source) * shape.maxDispatch + i, record + 1, copier);
    } else {
      takeExpertRows(from, token, record + 1, copier);
    }
  }
  return cudaSuccess;
}

void LlDispatch::takeExpertRows(const Bank& from, uint32_t token, int32_t* slots, const RowCopier& copier) const {
  const size_t local = group->shape.local();
  const auto begin = static_cast<int32_t>(static_cast<size_t>(group->rank) * local);
  for (size_t k = 0; k < topk; ++k) {
    slots[k] = -1;
    const int32_t expert = from.ids()[token * topk + k] - begin;
    if (expert < 0 || static_cast<size_t>(expert) >= local) continue;
    const int32_t slot = expertCounters[expert];
    if (slot < 0 || static_cast<size_t>(slot) >= zoneRows()) {
      misuse(End::Undefined, group->rank, ticket.function, "the zone of local expert %d overflows", expert);
      continue;
    }
    expertCounters[expert] = slot + 1;
    const size_t row = static_cast<size_t>(expert) * zoneRows() + static_cast<size_t>(slot);
    slots[k] = static_cast<int32_t>(row);
    copyRow(from, token, row, copier);
  }
}

void LlDispatch::takeRankRow(const Bank& from, uint32_t token, size_t row, int32_t* slots, const RowCopier& copier) const {
  const size_t local = group->shape.local();
  const auto begin = static_cast<int32_t>(static_cast<size_t>(group->rank) * local);
  const int32_t shift = idKind == NCCL_EP_EXPERT_ID_GLOBAL ? begin : 0;
  for (size_t k = 0; k < topk; ++k) {
    const int32_t expert = from.ids()[token * topk + k] - begin;
    outIds[row * topk + k] = expert >= 0 && static_cast<size_t>(expert) < local ? expert + shift : -1;
    slots[k] = static_cast<int32_t>(row);
  }
  std::memcpy(outWeights + row * topk, from.weights() + token * topk, topk * sizeof(float));
  copyRow(from, token, row, copier);
}

void LlDispatch::copyRow(const Bank& from, uint32_t token, size_t row, const RowCopier& copier) const {
  const unsigned char* const staged = from.dispatchRow(token);
  copier.copy(out + row * tokenBytes, staged, tokenBytes);
  if (scaleBytes > 0) std::memcpy(outScales + row * scaleBytes, staged + tokenBytes, scaleBytes);
}

}  // namespace emu::ep
