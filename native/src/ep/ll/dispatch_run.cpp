#include <cstring>

#include "ep/ll/dispatch.h"
#include "ep/ll/records.h"
#include "ep/numeric/quantise.h"
#include "ep/routing.h"

namespace emu::ep {

namespace {

// The tag that ends a count is 16384: with more rows a receiver could take an incomplete count for the whole.
constexpr uint32_t kMostRowsPerDestination = 16383;

}  // namespace

void LlDispatch::checkSent(Execution& execution) const {
  const Shape& shape = group->shape;
  execution.elements("topk_idx", routing, tokens * topk, RoutingReader::elementBytes(wideRouting));
  execution.rows("inputs.tokens", in, tokens * inputBytes);
  if (inScales != nullptr) execution.rows("inputs.scales", inScales, tokens * scaleBytes);
  if (rankMajor) {
    execution.elements("inputs.topk_weights", inWeights, tokens * topk);
    execution.elements("outputs.topk_idx", outIds, shape.ranks * shape.maxDispatch * topk);
  } else {
    execution.elements("expert_counters", expertCounters, shape.local());
  }
  if (shape.experts > group->warpGroups()) return;
  execution.fail("the kernel needs two thread blocks, hence two experts on two multiprocessors");
}

void LlDispatch::checkReceived(Execution& execution) const {
  const Shape& shape = group->shape;
  const size_t rows = rankMajor ? shape.ranks * shape.maxDispatch : shape.local() * zoneRows();
  execution.rows("outputs.tokens", out, rows * tokenBytes);
  if (recipe == NCCL_EP_DISP_QUANT_DS_FP8E3M4) {
    execution.elements("outputs.scales", reinterpret_cast<float*>(outScales), rows * scaleBytes / sizeof(float));
  } else if (scaleBytes > 0) {
    execution.rows("outputs.scales", outScales, rows * scaleBytes);
  }
  if (rankMajor) {
    execution.elements("outputs.topk_weights", outWeights, rows * topk);
    execution.elements("outputs.topk_idx", outIds, rows * topk);
    if (sourceCounters != nullptr) execution.elements("src_rank_counters", sourceCounters, shape.ranks);
  } else {
    execution.elements("expert_counters", expertCounters, shape.local());
  }
  execution.bytes("handle memory", block, llHandleBytes(shape, topk));
  if (!rankMajor || idKind <= NCCL_EP_EXPERT_ID_GLOBAL) return;
  execution.fail("recv_topk_idx_kind %u", idKind);
}

// Writes this rank's send buffer and tells everybody.
void LlDispatch::send(LlExecution& execution) const {
  checkSent(execution);
  const Shape& shape = group->shape;
  if (rankMajor) std::memset(outIds, 0xff, shape.ranks * shape.maxDispatch * topk * sizeof(int32_t));
  if (!rankMajor) std::memset(expertCounters, 0, shape.local() * sizeof(int32_t));

  const SendBuffer buffer = execution.mine();
  announce(buffer.header(), tokenBytes + scaleBytes);
  buffer.header().tokensWindow = tokensWindow;
  buffer.header().scalesWindow = scalesWindow;

  // A token goes once to each rank that owns one of its experts: count, then list.
  LlState& ll = group->ll;
  const size_t local = shape.local();
  const RoutingReader reader(routing, wideRouting);
  ExpertCheck check(shape.experts);
  int32_t* const ids = buffer.ids();
  uint32_t* const first = buffer.first();
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
    if (leaves) stageRow(buffer.dispatchRow(t), t, rows);
  }
  rows.finish();
  for (size_t r = 0; r < shape.ranks; ++r) first[r + 1] += first[r];
  ll.perRank.assign(first, first + shape.ranks);
  ll.lastToken.assign(shape.ranks, 0);
  uint32_t* const list = buffer.tokenList();
  for (size_t t = 0; t < tokens; ++t) {
    eachDestination(t, [&](size_t destination) { list[ll.perRank[destination]++] = static_cast<uint32_t>(t); });
  }
  if (rankMajor && tokens > 0) std::memcpy(buffer.weights(), inWeights, tokens * topk * sizeof(float));

  execution.postToActive();
  for (size_t r = 0; r < shape.ranks; ++r) {
    if (first[r + 1] - first[r] <= kMostRowsPerDestination) continue;
    execution.undefined("%u rows for rank %zu: the kernels count %u of one rank for another", first[r + 1] - first[r],
                        r, kMostRowsPerDestination);
  }
  check.finish(execution);
}

// The only copy of a row on the sending side.
void LlDispatch::stageRow(unsigned char* to, size_t token, const RowCopier& copier) const {
  if (recipe != NCCL_EP_DISP_QUANT_DS_FP8E3M4) return stageInput(to, token, copier);
  const auto* const from = reinterpret_cast<const uint16_t*>(in + token * inputBytes);
  quantiseFp8(from, elements, roundScales, to, reinterpret_cast<float*>(to + tokenBytes));
}

// Pulls what the others have for this rank.
void LlDispatch::receive(LlExecution& execution) const {
  checkReceived(execution);
  const Shape& shape = group->shape;
  const LlRecords records(block, shape, topk);
  const RowCopier copier = this->copier();
  // The others have about as many tokens as this rank.
  ReadPacer pacer(group->ranks, tokens * tokenBytes);
  for (const int32_t source : execution.sourceOrder()) {
    pacer.next();
    records.count(static_cast<size_t>(source)) = 0;
    const auto count = execution.receive(source);
    if (count) {
      take(execution, source, *count, copier);
      execution.release(source);
      records.count(static_cast<size_t>(source)) = static_cast<int32_t>(*count);
    }
    if (sourceCounters != nullptr) sourceCounters[source] = static_cast<int32_t>(count.value_or(0));
  }
}

void LlDispatch::take(LlExecution& execution, int source, uint32_t count, const RowCopier& copier) const {
  const Shape& shape = group->shape;
  const SendBuffer from = execution.buffer(source);
  const SendBufferHeader& header = from.header();
  checkSource(execution, source, header, tokenBytes + scaleBytes);
  if (header.tokensWindow != tokensWindow || header.scalesWindow != scalesWindow) {
    execution.failBetween(source, "the windows of ", "differ in registration order or offset");
  }
  const LlRecords records(block, shape, topk);
  const uint32_t* const list = from.tokenList() + from.first()[group->rank];
  execution.shuffled(&group->ll.order, count, static_cast<uint64_t>(source) + 1);
  for (size_t i = 0; i < count; ++i) {
    const uint32_t token = list[group->ll.order[i]];
    int32_t* const record = records.entry(static_cast<size_t>(source), i);
    record[0] = static_cast<int32_t>(token);
    if (rankMajor) {
      takeRankRow(from, token, static_cast<size_t>(source) * shape.maxDispatch + i, record + 1, copier);
    } else {
      takeExpertRows(execution, from, token, record + 1, copier);
    }
  }
}

void LlDispatch::takeExpertRows(Execution& execution, const SendBuffer& from, uint32_t token, int32_t* slots,
                                const RowCopier& copier) const {
  const size_t local = group->shape.local();
  const auto begin = static_cast<int32_t>(static_cast<size_t>(group->rank) * local);
  for (size_t k = 0; k < topk; ++k) {
    slots[k] = -1;
    const int32_t expert = from.ids()[token * topk + k] - begin;
    if (expert < 0 || static_cast<size_t>(expert) >= local) continue;
    const int32_t slot = expertCounters[expert];
    if (slot < 0 || static_cast<size_t>(slot) >= zoneRows()) {
      execution.undefined("more than %zu rows arrive for expert %d: a token whose row of topk_idx names an "
                          "expert several times, as padding rows of zeros do, takes a row of its zone for each",
                          zoneRows(), begin + expert);
    }
    expertCounters[expert] = slot + 1;
    const size_t row = static_cast<size_t>(expert) * zoneRows() + static_cast<size_t>(slot);
    slots[k] = static_cast<int32_t>(row);
    copyRow(from.dispatchRow(token), row, copier);
  }
}

void LlDispatch::takeRankRow(const SendBuffer& from, uint32_t token, size_t row, int32_t* slots,
                             const RowCopier& copier) const {
  const size_t local = group->shape.local();
  const auto begin = static_cast<int32_t>(static_cast<size_t>(group->rank) * local);
  const int32_t shift = idKind == NCCL_EP_EXPERT_ID_GLOBAL ? begin : 0;
  for (size_t k = 0; k < topk; ++k) {
    const int32_t expert = from.ids()[token * topk + k] - begin;
    outIds[row * topk + k] = expert >= 0 && static_cast<size_t>(expert) < local ? expert + shift : -1;
    slots[k] = static_cast<int32_t>(row);
  }
  std::memcpy(outWeights + row * topk, from.weights() + token * topk, topk * sizeof(float));
  copyRow(from.dispatchRow(token), row, copier);
}

}  // namespace emu::ep
